//! Error replies by which a node of a cluster says that another one has the slot, or will have it.

use crate::tier::redis::options::Address;

/// Where to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Redirect {
    /// The slot is there from now on.
    Moved(Address),
    /// The slot is on its way there; what was asked for may have arrived.
    Ask(Address),
    /// Some of the names have arrived and some have not.
    TryAgain,
    /// The node cannot say who has it.
    Down,
}

impl Redirect {
    /// Reads a whole reply of the node at `asked`; `None` for any other.
    pub(in super::super) fn of(reply: &[u8], asked: &Address) -> Option<Self> {
        let line = reply.strip_prefix(b"-")?;
        let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
        match words.next()? {
            b"TRYAGAIN" => Some(Self::TryAgain),
            b"CLUSTERDOWN" => Some(Self::Down),
            kind @ (b"MOVED" | b"ASK") => {
                let address = address(words.nth(1)?, asked)?;
                Some(if kind == b"MOVED" { Self::Moved(address) } else { Self::Ask(address) })
            }
            _ => None,
        }
    }

    /// The one that has to be followed of those among some replies.
    pub(in super::super) fn among<'r>(
        replies: impl IntoIterator<Item = &'r [u8]>,
        asked: &Address,
    ) -> Option<Self> {
        let rank = |redirect: &Self| match redirect {
            Self::Moved(_) => 3,
            Self::Down => 2,
            Self::TryAgain => 1,
            Self::Ask(_) => 0,
        };
        replies.into_iter().filter_map(|reply| Self::of(reply, asked)).max_by_key(rank)
    }
}

/// `host:port`, where an address of version 6 has no brackets, and no host is that which was asked.
fn address(word: &[u8], asked: &Address) -> Option<Address> {
    let (host, port) = std::str::from_utf8(word).ok()?.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    match (host, asked) {
        ("" | "?", Address::Tcp(host, _)) => Some(Address::Tcp(host.clone(), port)),
        (host, _) => Some(Address::Tcp(host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_told_from_other_replies() {
        let at = |host: &str, port| Address::Tcp(host.to_owned(), port);
        let asked = at("asked", 1);
        let of = |reply: &str| Redirect::of(reply.as_bytes(), &asked);
        assert_eq!(of("-MOVED 7 10.0.0.1:2\r\n"), Some(Redirect::Moved(at("10.0.0.1", 2))));
        assert_eq!(of("-MOVED 7 :2\r\n"), Some(Redirect::Moved(at("asked", 2))));
        assert_eq!(of("-ASK 7 fe80::1:2\r\n"), Some(Redirect::Ask(at("fe80::1", 2))));
        assert_eq!(of("-TRYAGAIN Multiple keys\r\n"), Some(Redirect::TryAgain));
        assert_eq!(of("-CLUSTERDOWN Hash slot not served\r\n"), Some(Redirect::Down));
        for other in ["-ERR MOVED\r\n", "-MOVED\r\n", "-MOVED 7 h:0\r\n", "+OK\r\n", ":1\r\n", ""] {
            assert_eq!(of(other), None, "{other:?}");
        }
        let replies = [&b"-ASK 7 h:3\r\n"[..], b":1\r\n", b"-MOVED 7 h:2\r\n"];
        assert_eq!(Redirect::among(replies, &asked), Some(Redirect::Moved(at("h", 2))));
        assert_eq!(Redirect::among([replies[1]], &asked), None);
    }
}
