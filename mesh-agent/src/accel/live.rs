//! What goes past TCP: the words for it, and figures of the connections that are open. Pure.

use mesh_common::accel::{Direction, Pair, Path};

/// The ways of data in one direction, as the log and the metrics call them.
pub const PATHS: [(Path, &str); 4] = [
    (Path::UNDECIDED, "none"),
    (Path::REDIRECTED, "redirected"),
    (Path::TCP, "tcp"),
    (Path::LEFT, "left"),
];

/// What a way is called.
#[must_use]
pub fn name(path: Path) -> &'static str {
    let known = PATHS.iter().find(|(known, _)| *known == path);
    known.map_or("unknown", |(_, name)| name)
}

/// Open connections whose ends have found each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How many there are.
    pub connections: u64,
    /// From client to server.
    pub sent: Figures,
    /// From server to client.
    pub received: Figures,
}

/// One direction of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many go each of [`PATHS`].
    pub paths: [u64; PATHS.len()],
    /// Bytes that went past TCP.
    pub bytes: u64,
}

impl Live {
    /// Adds an open connection, if its ends have found each other.
    pub fn add(&mut self, pair: &Pair) {
        if pair.server_at == 0 {
            return;
        }
        self.connections += 1;
        self.sent.add(pair.sent_path, pair.sent);
        self.received.add(pair.received_path, pair.received);
    }
}

impl Figures {
    fn add(&mut self, path: Path, direction: Direction) {
        let known = PATHS.iter().zip(&mut self.paths).find(|((known, _), _)| *known == path);
        if let Some((_, count)) = known {
            *count += 1;
        }
        self.bytes = self.bytes.saturating_add(direction.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_that_have_found_each_other_count() {
        let direction = |bytes| Direction { bytes, ..Direction::default() };
        let pair = Pair {
            server_at: Pair::SOMEWHERE,
            sent_path: Path::LEFT,
            received_path: Path::REDIRECTED,
            sent: direction(5),
            received: direction(7),
            ..Pair::default()
        };
        let mut live = Live::default();
        live.add(&pair);
        live.add(&Pair { server_at: 0, ..pair });
        live.add(&Pair { server_at: 1, ..Pair::default() });
        assert_eq!(live.connections, 2);
        assert_eq!(live.sent, Figures { paths: [1, 0, 0, 1], bytes: 5 });
        assert_eq!(live.received, Figures { paths: [1, 1, 0, 0], bytes: 7 });
    }

    #[test]
    fn every_way_has_a_name() {
        let names = PATHS.map(|(path, _)| name(path));
        assert_eq!(names, ["none", "redirected", "tcp", "left"]);
        assert_eq!(name(Path { code: 9 }), "unknown");
    }
}
