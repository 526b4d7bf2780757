//! Lists as streams: the same items as the unary calls give, in messages of a bounded size.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tonic::Status;

/// Items in one message: far below the 16 MiB that a client takes, whatever their labels.
const ITEMS_MAX: usize = 64;

/// What a streaming RPC answers.
pub(crate) type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Messages that each `wrap` some of the items; none for an empty list. The client's pace is the stream's.
pub(crate) fn list<I: Send + 'static, T: 'static>(
    items: impl Stream<Item = I> + Send + 'static,
    wrap: fn(Vec<I>) -> T,
) -> Streamed<T> {
    Box::pin(items.chunks(ITEMS_MAX).map(move |chunk| Ok(wrap(chunk))))
}

/// As [`list`], of items that are there.
pub(crate) fn ready<I: Send + 'static, T: 'static>(items: Vec<I>, wrap: fn(Vec<I>) -> T) -> Streamed<T> {
    list(futures_util::stream::iter(items), wrap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_come_in_order_and_in_bounded_messages() {
        let items: Vec<usize> = (0..ITEMS_MAX * 2 + 1).collect();
        let messages: Vec<Vec<usize>> = ready(items.clone(), |chunk| chunk).map(Result::unwrap).collect().await;
        assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [ITEMS_MAX, ITEMS_MAX, 1]);
        assert_eq!(messages.concat(), items);
        assert_eq!(ready(Vec::<u8>::new(), |chunk| chunk).count().await, 0);
    }
}
