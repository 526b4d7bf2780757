//! PURE. Tricolour marking: what can be reached from the roots.

use std::collections::HashSet;
use std::hash::Hash;

/// Everything reachable from `roots`. A node is white until seen, grey while its edges wait, black after; each is
/// visited once, so cycles end.
pub fn reachable<N, I, E>(roots: impl IntoIterator<Item = N>, edges: impl Fn(&N) -> E) -> HashSet<N>
where
    N: Eq + Hash + Clone,
    I: Iterator<Item = N>,
    E: IntoIterator<Item = N, IntoIter = I>,
{
    let mut seen: HashSet<N> = HashSet::new();
    let mut grey: Vec<N> = Vec::new();
    for root in roots {
        if seen.insert(root.clone()) {
            grey.push(root);
        }
    }
    while let Some(node) = grey.pop() {
        for next in edges(&node) {
            if seen.insert(next.clone()) {
                grey.push(next);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_node_is_kept_exactly_if_a_path_leads_to_it(
            edges in proptest::collection::vec((0_u8..20, 0_u8..20), 0..60),
            roots in proptest::collection::vec(0_u8..20, 0..4),
        ) {
            let mut map: HashMap<u8, Vec<u8>> = HashMap::new();
            for (from, to) in &edges {
                map.entry(*from).or_default().push(*to);
            }
            let kept = reachable(roots.clone(), |n| map.get(n).cloned().unwrap_or_default());
            // The slow way: widen until nothing changes.
            let mut slow: HashSet<u8> = roots.into_iter().collect();
            while edges.iter().any(|(from, to)| slow.contains(from) && slow.insert(*to)) {}
            prop_assert_eq!(kept, slow);
        }
    }
}
