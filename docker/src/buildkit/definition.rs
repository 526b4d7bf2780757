//! PURE. Definitions of graphs that stand for a result: a client that builds one target on another hands them back.
//!
//! Ours have one source with a name of our own, and an end that points to it, so that any client can read them. Nothing
//! else of a graph is understood.

use bollard_buildkit_proto::pb;
use engine::id::{Digest, ImageId};
use prost::Message as _;

/// What a result's source is called.
const SCHEME: &str = "gantry-result://";
/// Operations of a definition that are looked at.
const OPERATIONS_MAX: usize = 64;

/// The definition that stands for an image.
pub(super) fn of_image(image: &ImageId) -> pb::Definition {
    let source = pb::SourceOp { identifier: format!("{SCHEME}{image}"), ..pb::SourceOp::default() };
    let first = pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let digest = Digest::of(&first).to_string();
    let input = pb::Input { digest: digest.clone(), index: 0 };
    let end = pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec();
    let metadata = [digest, Digest::of(&end).to_string()].map(|digest| (digest, pb::OpMetadata::default()));
    pb::Definition { def: vec![first, end], metadata: metadata.into(), source: None }
}

/// The image that a definition stands for.
///
/// # Errors
/// A sentence for any other graph.
pub(super) fn image(definition: &pb::Definition) -> Result<ImageId, String> {
    match source(definition)?.identifier.strip_prefix(SCHEME) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is not the id of a result")),
        None => Err("graphs of the client's own (LLB) are not built; only results of this engine's builds".to_owned()),
    }
}

/// The one source of a definition.
///
/// # Errors
/// A sentence for a graph that does anything else.
pub(super) fn source(definition: &pb::Definition) -> Result<pb::SourceOp, String> {
    if definition.def.len() > OPERATIONS_MAX {
        return Err("graphs of the client's own (LLB) are not built".to_owned());
    }
    let mut found = None;
    for bytes in &definition.def {
        let operation = pb::Op::decode(bytes.as_slice()).map_err(|_| "the definition cannot be read".to_owned())?;
        match operation.op {
            None => {}
            Some(pb::op::Op::Source(source)) if found.is_none() => found = Some(source),
            Some(_) => return Err("graphs of the client's own (LLB) are not built".to_owned()),
        }
    }
    found.ok_or_else(|| "the definition is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_as_itself() {
        let id: ImageId = Digest::of(b"image");
        let definition = of_image(&id);
        assert_eq!(image(&definition).unwrap(), id);
        let end = pb::Op::decode(definition.def[1].as_slice()).unwrap();
        assert_eq!(end.inputs[0].digest, Digest::of(&definition.def[0]).to_string(), "clients follow it");
    }

    #[test]
    fn other_graphs_are_refused() {
        let source = |identifier: &str| pb::Op {
            op: Some(pb::op::Op::Source(pb::SourceOp { identifier: identifier.into(), ..Default::default() })),
            ..Default::default()
        };
        let of = |ops: &[pb::Op]| pb::Definition {
            def: ops.iter().map(pb::Op::encode_to_vec).collect(),
            ..Default::default()
        };
        assert!(image(&of(&[source("docker-image://busybox")])).unwrap_err().contains("LLB"));
        assert!(image(&of(&[source("gantry-result://../x")])).unwrap_err().contains("not the id"));
        let run = pb::Op { op: Some(pb::op::Op::Exec(pb::ExecOp::default())), ..Default::default() };
        assert!(image(&of(&[source("gantry-result://x"), run])).unwrap_err().contains("LLB"));
        assert!(image(&of(&[])).unwrap_err().contains("empty"));
        assert!(
            image(&pb::Definition { def: vec![vec![0xff; 9]], ..Default::default() }).unwrap_err().contains("read")
        );
    }
}
