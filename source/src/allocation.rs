//! Which sub is on which socket. Pure. A sub stays where it is for as long as it is wanted, because to
//! move it is a gap; new ones go to the first socket that has room, so that no further one is opened, which
//! the account may not have, before it is needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::sub::Sub;

/// The subs of each socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    sockets: Vec<BTreeSet<Sub>>,
    /// The vendor's limit for one socket.
    most: usize,
}

impl Allocation {
    /// So many sockets, each for at most `most` subs.
    pub fn new(sockets: usize, most: usize) -> Self {
        Allocation { sockets: vec![BTreeSet::new(); sockets.max(1)], most }
    }

    /// These are wanted from now on. Returns those that no socket has room for.
    pub fn want<'a>(&mut self, wanted: impl IntoIterator<Item = &'a Sub>) -> Vec<Sub> {
        let mut new: BTreeSet<&Sub> = wanted.into_iter().collect();
        for socket in &mut self.sockets {
            socket.retain(|sub| new.remove(sub));
        }
        let mut left = Vec::new();
        for sub in new {
            match self.sockets.iter_mut().find(|socket| socket.len() < self.most) {
                Some(socket) => _ = socket.insert(sub.clone()),
                None => left.push(sub.clone()),
            }
        }
        left
    }

    /// The subs of a socket.
    pub fn of(&self, socket: usize) -> &BTreeSet<Sub> {
        &self.sockets[socket]
    }

    /// The socket of a sub.
    pub fn socket_of(&self, sub: &Sub) -> Option<usize> {
        self.sockets.iter().position(|socket| socket.contains(sub))
    }
}

/// All sockets, with the number of the key that each has: the first socket of every key, then the second of
/// every key, and so on.
pub fn keys_of(keys: usize, sockets: usize) -> BTreeMap<usize, usize> {
    (0..keys * sockets).map(|socket| (socket, socket % keys.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subs(numbers: impl IntoIterator<Item = usize>) -> Vec<Sub> {
        numbers.into_iter().map(|n| Sub::parse(&format!("0~A~C{n:03}~USD")).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn each_sub_is_on_one_socket_stays_there_and_no_socket_has_too_many(
            rounds in proptest::collection::vec(proptest::collection::btree_set(0usize..60, 0..40), 1..8),
            sockets in 1usize..5,
            most in 1usize..20,
        ) {
            let mut allocation = Allocation::new(sockets, most);
            for wanted in rounds {
                let before = allocation.clone();
                let wanted = subs(wanted);
                let left = allocation.want(&wanted);
                let mut all: Vec<Sub> = left.clone();
                for socket in 0..sockets {
                    prop_assert!(allocation.of(socket).len() <= most);
                    all.extend(allocation.of(socket).iter().cloned());
                }
                all.sort();
                let mut expected = wanted.clone();
                expected.sort();
                prop_assert_eq!(all, expected, "each once");
                if !left.is_empty() {
                    prop_assert!((0..sockets).all(|socket| allocation.of(socket).len() == most));
                }
                for sub in &wanted {
                    if let Some(socket) = before.socket_of(sub) {
                        prop_assert_eq!(allocation.socket_of(sub), Some(socket));
                    }
                }
            }
        }
    }

    #[test]
    fn sockets_take_their_keys_by_turns() {
        let keys: Vec<usize> = keys_of(3, 2).into_values().collect();
        assert_eq!(keys, [0, 1, 2, 0, 1, 2]);
    }
}
