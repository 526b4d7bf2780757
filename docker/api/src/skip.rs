//! Go's `omitempty`.

/// Whether Go would leave the value out.
pub(crate) fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
