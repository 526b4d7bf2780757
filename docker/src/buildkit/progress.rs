//! PURE. What a build tells, as clients of BuildKit show it.

use std::collections::HashMap;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use bollard_buildkit_proto::pb;
use engine::build::BuildEvent;
use engine::container::Stream;

/// Vertices that are remembered with their names and times.
const VERTICES_MAX: usize = 50_000;

/// What was said of each vertex, for messages that repeat it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    vertices: HashMap<String, Vertex>,
    parts: HashMap<(String, String), Timestamp>,
}

impl Progress {
    /// The message for an event at the time `now`; `None` for what clients are not told.
    pub(super) fn message(&mut self, event: BuildEvent, now: Timestamp) -> Option<StatusResponse> {
        let mut message = StatusResponse::default();
        match event {
            BuildEvent::Started { vertex, name, inputs, .. } => {
                let digest = vertex.to_string();
                let inputs = inputs.iter().map(ToString::to_string).collect();
                let begun = Vertex { digest: digest.clone(), inputs, name, started: Some(now), ..Vertex::default() };
                if self.vertices.len() < VERTICES_MAX {
                    self.vertices.insert(digest, begun.clone());
                }
                message.vertexes.push(begun);
            }
            BuildEvent::Completed { vertex, cached, error, .. } => {
                let known = self.vertices.get(&vertex.to_string()).cloned();
                let begun = known.unwrap_or_else(|| Vertex { digest: vertex.to_string(), ..Vertex::default() });
                let error = error.unwrap_or_default();
                message.vertexes.push(Vertex { cached, completed: Some(now), error, ..begun });
            }
            BuildEvent::Log { vertex, stream, data } => message.logs.push(VertexLog {
                vertex: vertex.to_string(),
                timestamp: Some(now),
                stream: if stream == Stream::Stderr { 2 } else { 1 },
                msg: data.to_vec(),
            }),
            BuildEvent::Status { vertex, id, current, total, done } => {
                let key = (vertex.to_string(), id.clone());
                let started = *self.parts.entry(key.clone()).or_insert(now);
                if done || self.parts.len() > VERTICES_MAX {
                    self.parts.remove(&key);
                }
                message.statuses.push(VertexStatus {
                    name: id.clone(),
                    id,
                    vertex: key.0,
                    current: i64::try_from(current).unwrap_or(i64::MAX),
                    total: i64::try_from(total).unwrap_or(i64::MAX),
                    timestamp: Some(now),
                    started: Some(started),
                    completed: done.then_some(now),
                });
            }
            BuildEvent::Warning { vertex, text, line } => message.warnings.push(VertexWarning {
                vertex: vertex.to_string(),
                level: 1,
                short: text.into_bytes(),
                ranges: if line == 0 { Vec::new() } else { vec![range(line, line)] },
                ..VertexWarning::default()
            }),
            BuildEvent::Running { .. } => return None,
        }
        Some(message)
    }
}

fn range(start: u32, end: u32) -> pb::Range {
    let position = |line: u32| Some(pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 });
    pb::Range { start: position(start), end: position(end) }
}

/// The time as messages have it.
pub(super) fn now() -> Timestamp {
    let now = jiff::Timestamp::now();
    Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::id::Digest;

    #[test]
    fn a_step_keeps_its_name_and_beginning_until_its_end() {
        let mut progress = Progress::default();
        let vertex = Digest::of(b"step");
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let begun =
            BuildEvent::Started { vertex, name: "[1/2] RUN a".into(), inputs: vec![Digest::of(b"base")], step: None };
        let first = progress.message(begun, at(1)).unwrap();
        assert_eq!((first.vertexes[0].started, first.vertexes[0].completed), (Some(at(1)), None));
        let log = BuildEvent::Log { vertex, stream: Stream::Stderr, data: "x".into() };
        assert_eq!(progress.message(log, at(2)).unwrap().logs[0].stream, 2);
        let part = |current, done| BuildEvent::Status { vertex, id: "layer".into(), current, total: 9, done };
        assert_eq!(progress.message(part(1, false), at(3)).unwrap().statuses[0].started, Some(at(3)));
        let last = progress.message(part(9, true), at(4)).unwrap().statuses.remove(0);
        assert_eq!((last.started, last.completed, last.total), (Some(at(3)), Some(at(4)), 9));
        let failed = BuildEvent::Completed { vertex, cached: false, error: Some("no".into()), image: None };
        let end = progress.message(failed, at(5)).unwrap().vertexes.remove(0);
        assert_eq!((end.name.as_str(), end.started, end.completed), ("[1/2] RUN a", Some(at(1)), Some(at(5))));
        assert_eq!((end.error.as_str(), end.inputs.len()), ("no", 1));
    }
}
