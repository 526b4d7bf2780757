//! Which record refers to what.

use std::collections::HashMap;

use crate::id::{Digest, ImageId, LayerId};
use crate::image::Images;
use crate::snapshot::{SnapshotKey, Snapshotter as _};

/// Something that is kept or swept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A bounded piece of work in flight, by its place in the list.
    Lease(usize),
    /// An image, whether it has a name or not: images go by `remove` only.
    Image(ImageId),
    /// A cached result of a build's step.
    BuildCache(Digest),
    /// A container's writable layer, or a view.
    Snapshot(SnapshotKey),
    /// An unpacked layer.
    Layer(LayerId),
    /// Bytes in the content store.
    Blob(Digest),
}

/// The graph at one moment: roots, and what each refers to. Layers and blobs refer to nothing.
#[derive(Debug, Default)]
pub struct Graph {
    /// What is needed for its own sake.
    pub roots: Vec<Node>,
    edges: HashMap<Node, Vec<Node>>,
}

impl Graph {
    /// What `node` needs.
    pub fn edges(&self, node: &Node) -> Vec<Node> {
        self.edges.get(node).cloned().unwrap_or_default()
    }

    /// Reads all records. From memory.
    pub(super) fn read(images: &Images) -> Self {
        let mut graph = Self::default();
        for (number, lease) in images.leases().held().into_iter().enumerate() {
            let blobs = lease.blobs.into_iter().map(Node::Blob);
            graph.root(Node::Lease(number), blobs.chain(lease.layers.into_iter().map(Node::Layer)).collect());
        }
        for (id, blobs, layers) in images.references() {
            let blobs = blobs.into_iter().map(Node::Blob);
            graph.root(Node::Image(id), blobs.chain(layers.into_iter().map(Node::Layer)).collect());
        }
        for (key, record) in images.build_cache().all() {
            let layer = &record.layer;
            graph.root(Node::BuildCache(key), vec![Node::Blob(layer.digest), Node::Layer(layer.diff_id)]);
        }
        for snapshot in images.overlay().list() {
            graph.root(Node::Snapshot(snapshot.key), snapshot.layers.into_iter().map(Node::Layer).collect());
        }
        // A flight without a lease ends with its last rider; until then its blob is in use.
        graph.roots.extend(images.flights().busy().into_iter().map(Node::Blob));
        graph
    }

    fn root(&mut self, node: Node, needs: Vec<Node>) {
        self.roots.push(node.clone());
        self.edges.insert(node, needs);
    }
}
