//! Makes the table, and tells whether it is still whole.

use nix::errno::Errno;
use thiserror::Error;

use super::batch::Batch;
use super::element::comment_userdata;
use super::layout::{self, ACCEPT, BLOCK4, CHAIN_TYPE, ChainLayout, RULE_COMMENT, SETS, SetLayout};
use super::parse::{
    Chain, Expression, Limit, Rule, SET_EXPRESSION, SET_EXPRESSIONS, Set, parse_chain, parse_rule, parse_set,
    write_alone, write_expression,
};
use super::{
    CREATE, DELETE_RULE, DELETE_TABLE, ELEMENT_SET, GET_CHAIN, GET_RULE, GET_SET, GET_TABLE, INET, NEW_CHAIN, NEW_RULE,
    NEW_SET, NEW_TABLE, Nft, NftError, OBJECT_TABLE,
};
use crate::message::{Builder, Malformed, Message};
use crate::socket::SocketError;

const TABLE_FLAGS: u16 = 2;
/// `NFT_TABLE_F_DORMANT`: the chains of the table are not attached to their hooks.
pub(super) const DORMANT: u32 = 1;
/// `NFT_SET_TIMEOUT`
pub(super) const SET_TIMEOUT: u32 = 0x10;
/// `NFT_SET_EXPR`: the set has a list of expressions.
const SET_EXPRESSIONS_FLAG: u32 = 0x100;
/// The flags of a set that change what it holds: constant, interval, map, object, concatenation.
pub(super) const SET_SHAPE: u32 = 0x2 | 0x4 | 0x8 | 0x40 | 0x80;

/// How to make the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOptions {
    /// The most elements in each set. A set that exists keeps its own.
    pub elements_max: u32,
    /// Whether to add a chain that does nothing but switch conntrack on in the network namespace.
    pub track_flows: bool,
}

/// Something about the table that makes "blocked" untrue.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Defect {
    /// The table is missing.
    #[error("the table is missing")]
    TableMissing,
    /// The table is switched off.
    #[error("the table is dormant")]
    TableDormant,
    /// A set is missing.
    #[error("the set \"{set}\" is missing")]
    SetMissing {
        /// Its name.
        set: &'static str,
    },
    /// A set holds something else than single addresses with a timeout.
    #[error("the set \"{set}\" has another shape")]
    SetShape {
        /// Its name.
        set: &'static str,
    },
    /// A chain is missing.
    #[error("the chain \"{chain}\" is missing")]
    ChainMissing {
        /// Its name.
        chain: &'static str,
    },
    /// A chain has another type, hook, priority or policy.
    #[error("the chain \"{chain}\" has another type, hook, priority or policy")]
    ChainShape {
        /// Its name.
        chain: &'static str,
    },
    /// A chain does not start with our rules.
    #[error("the chain \"{chain}\" does not start with our rules")]
    Rules {
        /// Its name.
        chain: &'static str,
    },
    /// The table was not made by us: it holds this, and nothing of ours.
    #[error("it holds \"{name}\", and nothing of ours")]
    NotOurs {
        /// The name of a set or chain in it.
        name: String,
    },
}

/// The table as the kernel shows it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The flags of the table; `None` when it is missing.
    pub(super) table: Option<u32>,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
    pub(super) rules: Vec<Rule>,
}

impl Nft {
    /// Makes the table with its sets, chains and rules, or adds what is missing of it, in one batch.
    ///
    /// A table that is whole is left as it is. Rules that others added to our chains are kept, after ours.
    ///
    /// # Errors
    ///
    /// [`NftError::Mismatch`] when an object has our name but another shape; nothing was changed then.
    pub fn ensure_table(&mut self, options: TableOptions) -> Result<(), NftError> {
        let doing = format!("make {}", self.name());
        self.until_unmoved(|nft, at| {
            let found = nft.find()?;
            let defects = found.defects(options.track_flows, nft.limit);
            let wrong = |it: &Defect| {
                matches!(
                    it,
                    Defect::TableDormant | Defect::SetShape { .. } | Defect::ChainShape { .. }
                )
            };
            if defects.iter().any(wrong) {
                return Err(NftError::Mismatch {
                    defects: defects.into_iter().filter(wrong).collect(),
                });
            }
            let mut batch = Batch::new(&mut nft.socket, Some(at), 64 + found.rules.len());
            let (table, limit) = (nft.table.as_str(), nft.limit);
            if found.table.is_none() {
                batch.push(NEW_TABLE, CREATE, |m| m.text(OBJECT_TABLE, table));
            }
            for (id, set) in (1..).zip(SETS) {
                if defects.contains(&Defect::SetMissing { set: set.name }) {
                    batch.push(NEW_SET, CREATE, |m| {
                        write_set(m, table, set, id, options.elements_max, limit);
                    });
                }
            }
            for chain in layout::chains(options.track_flows) {
                if defects.contains(&Defect::ChainMissing { chain: chain.name }) {
                    batch.push(NEW_CHAIN, CREATE, |m| write_chain(m, table, &chain));
                } else if !defects.contains(&Defect::Rules { chain: chain.name }) {
                    continue;
                }
                for rule in found
                    .rules
                    .iter()
                    .filter(|it| it.chain == chain.name && it.is_ours(&chain))
                {
                    batch.push(DELETE_RULE, 0, |m| {
                        m.text(1, table);
                        m.text(2, chain.name);
                        m.u64_be(3, rule.handle);
                    });
                }
                // Each is put before what is there, so the last becomes the first.
                for rule in chain.rules.iter().rev() {
                    batch.push(NEW_RULE, CREATE, |m| {
                        m.text(1, table);
                        m.text(2, chain.name);
                        m.nest(4, |list| rule.iter().for_each(|it| write_expression(list, it)));
                        m.bytes(7, &comment_userdata(RULE_COMMENT));
                    });
                }
            }
            batch
                .commit(&mut nft.socket)
                .map_err(|it| NftError::of_change(doing.clone(), it))
        })
    }

    /// Deletes the table with everything in it.
    ///
    /// # Errors
    ///
    /// [`NftError::Missing`] when it is not there.
    pub fn delete_table(&mut self) -> Result<(), NftError> {
        let mut batch = Batch::new(&mut self.socket, None, 1);
        batch.push(DELETE_TABLE, 0, |m| m.text(OBJECT_TABLE, &self.table));
        batch
            .commit(&mut self.socket)
            .map_err(|it| NftError::of_change(format!("delete {}", self.name()), it))
    }

    /// Tells whether the table is there, whatever it holds.
    ///
    /// # Errors
    ///
    /// [`NftError::Timeout`], [`NftError::Denied`], [`NftError::Failed`].
    pub fn table_present(&mut self) -> Result<bool, NftError> {
        Ok(self.table_flags()?.is_some())
    }

    /// Tells whether the sets, the chains and all rules that drop are there, so that an element really blocks.
    ///
    /// # Errors
    ///
    /// As [`Nft::defects`].
    pub fn chains_intact(&mut self) -> Result<bool, NftError> {
        Ok(self.defects(false)?.is_empty())
    }

    /// Returns everything about the table that makes "blocked" untrue; with `track_flows` also whether conntrack is
    /// switched on by it.
    ///
    /// # Errors
    ///
    /// [`NftError::Moved`] when the ruleset kept changing.
    pub fn defects(&mut self, track_flows: bool) -> Result<Vec<Defect>, NftError> {
        self.until_read(|nft| {
            let before = nft.generation()?;
            let found = nft.find()?;
            if nft.generation()? == before {
                return Ok(found.defects(track_flows, nft.limit));
            }
            Err(NftError::Moved {
                doing: format!("check {}", nft.name()),
            })
        })
    }

    /// Returns a set of the table, without its elements, if it is there.
    pub(super) fn find_set(&mut self, set: &str) -> Result<Option<Set>, NftError> {
        let names = |m: &mut Builder| {
            m.text(OBJECT_TABLE, &self.table);
            m.text(ELEMENT_SET, set);
        };
        let answer = self.socket.ask(GET_SET, &INET, names, |it| parse_set(it.payload));
        present(answer).map_err(|it| NftError::of_read(format!("find the set \"{set}\""), it))
    }

    /// Returns how many elements a set has, where the kernel says so.
    pub(super) fn set_length(&mut self, set: &str) -> Result<Option<usize>, NftError> {
        let length = self.find_set(set)?.and_then(|it| it.elements);
        Ok(length.map(|it| usize::try_from(it).unwrap_or(usize::MAX)))
    }

    /// The limit with which the table was made; `None` when it blocks, or is not there.
    ///
    /// # Errors
    ///
    /// As [`Nft::table_present`].
    pub fn limit_found(&mut self) -> Result<Option<Limit>, NftError> {
        let set = self.find_set(BLOCK4)?;
        Ok(set.and_then(|it| it.limit()))
    }

    fn table_flags(&mut self) -> Result<Option<u32>, NftError> {
        let read = |message: &Message<'_>| {
            let mut flags = 0;
            for attribute in message.attributes(INET.len())? {
                let attribute = attribute?;
                if attribute.kind == TABLE_FLAGS {
                    flags = attribute.u32_be()?;
                }
            }
            Ok(flags)
        };
        let answer = self
            .socket
            .ask(GET_TABLE, &INET, |m| m.text(OBJECT_TABLE, &self.table), read);
        present(answer).map_err(|it| NftError::of_read(format!("find {}", self.name()), it))
    }

    /// Reads all of the table but its elements.
    pub(super) fn find(&mut self) -> Result<Found, NftError> {
        let Some(flags) = self.table_flags()? else {
            return Ok(Found::default());
        };
        // The kernel may ignore the filter by table, so what it returns is filtered again.
        let mut sets = self.find_all(GET_SET, parse_set)?;
        sets.retain(|it| it.table == self.table);
        let mut chains = self.find_all(GET_CHAIN, parse_chain)?;
        chains.retain(|it| it.table == self.table);
        let mut rules = self.find_all(GET_RULE, parse_rule)?;
        rules.retain(|it| it.table == self.table);
        Ok(Found {
            table: Some(flags),
            sets,
            chains,
            rules,
        })
    }

    fn find_all<T>(&mut self, kind: u16, parse: fn(&[u8]) -> Result<T, Malformed>) -> Result<Vec<T>, NftError> {
        let mut all = Vec::new();
        let read = self.socket.dump(
            kind,
            &INET,
            |m| m.text(OBJECT_TABLE, &self.table),
            |message| {
                all.push(parse(message.payload)?);
                Ok(())
            },
        );
        read.map(|()| all)
            .map_err(|it| NftError::of_read(format!("read {}", self.name()), it))
    }
}

impl Found {
    fn defects(&self, track_flows: bool, limit: Option<Limit>) -> Vec<Defect> {
        let mut defects = Vec::new();
        match self.table {
            None => defects.push(Defect::TableMissing),
            Some(flags) if flags & DORMANT != 0 => defects.push(Defect::TableDormant),
            Some(_) => {}
        }
        for layout in SETS {
            match self.sets.iter().find(|it| it.name == layout.name) {
                None => defects.push(Defect::SetMissing { set: layout.name }),
                Some(set) if !set.matches(layout, limit) => defects.push(Defect::SetShape { set: layout.name }),
                Some(_) => {}
            }
        }
        for layout in layout::chains(track_flows) {
            match self.chains.iter().find(|it| it.name == layout.name) {
                None => defects.push(Defect::ChainMissing { chain: layout.name }),
                Some(chain) if !chain.matches(&layout) => defects.push(Defect::ChainShape { chain: layout.name }),
                Some(_) if !self.starts_with(&layout) => defects.push(Defect::Rules { chain: layout.name }),
                Some(_) => {}
            }
        }
        defects
    }

    /// Tells whether the chain starts with our rules; what comes after them cannot undo a drop.
    fn starts_with(&self, layout: &ChainLayout) -> bool {
        let mut rules = self.rules.iter().filter(|it| it.chain == layout.name);
        layout
            .rules
            .iter()
            .all(|expected| rules.next().is_some_and(|it| it.expressions == *expected))
    }
}

impl Set {
    fn limit(&self) -> Option<Limit> {
        self.expressions.iter().find_map(|it| match it {
            Expression::Limit(limit) => Some(*limit),
            _ => None,
        })
    }

    fn matches(&self, layout: SetLayout, limit: Option<Limit>) -> bool {
        let is_known = |it: &Expression| matches!(it, Expression::Limit(_) | Expression::Counter);
        self.key_bytes == layout.key_bytes
            && self.flags & SET_TIMEOUT != 0
            && self.flags & SET_SHAPE == 0
            && self.limit() == limit
            && self.expressions.iter().all(is_known)
    }
}

impl Chain {
    pub(super) fn matches(&self, layout: &ChainLayout) -> bool {
        self.kind.as_deref() == Some(CHAIN_TYPE)
            && self.hook == Some(layout.hook)
            && self.priority == Some(layout.priority)
            && self.policy == Some(ACCEPT)
    }
}

impl Rule {
    fn is_ours(&self, layout: &ChainLayout) -> bool {
        self.comment.as_deref() == Some(RULE_COMMENT) && layout.rules.contains(&self.expressions)
    }
}

/// Turns "there is no such object" into `None`.
pub(super) fn present<T>(answer: Result<T, SocketError>) -> Result<Option<T>, SocketError> {
    match answer {
        Ok(it) => Ok(Some(it)),
        Err(SocketError::Refused {
            errno: Errno::ENOENT, ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_set(message: &mut Builder, table: &str, set: SetLayout, id: u32, elements_max: u32, limit: Option<Limit>) {
    message.text(1, table);
    message.text(2, set.name);
    message.u32_be(3, SET_TIMEOUT | limit.map_or(0, |_| SET_EXPRESSIONS_FLAG));
    message.u32_be(4, set.key_type);
    message.u32_be(5, set.key_bytes);
    message.nest(9, |it| it.u32_be(1, elements_max));
    message.u32_be(10, id);
    // User data that tells `nft` to show keys in network byte order: type 0, length 4, 2 in host order.
    let [a, b, c, d] = 2_u32.to_ne_bytes();
    message.bytes(13, &[0, 4, a, b, c, d]);
    // Every element gets a counter of its own. Kernels before 5.7 ignore this, and elements then have none.
    match limit {
        None => message.nest(SET_EXPRESSION, |it| write_alone(it, &Expression::Counter)),
        // What is within the limit leaves the rule before it is counted, and before it is dropped.
        Some(limit) => message.nest(SET_EXPRESSIONS, |list| {
            write_expression(list, &Expression::Limit(limit));
            write_expression(list, &Expression::Counter);
        }),
    }
}

pub(super) fn write_chain(message: &mut Builder, table: &str, chain: &ChainLayout) {
    message.text(1, table);
    message.text(3, chain.name);
    message.nest(4, |hook| {
        hook.u32_be(1, chain.hook);
        hook.bytes(2, &chain.priority.to_be_bytes());
    });
    message.u32_be(5, ACCEPT);
    message.text(7, CHAIN_TYPE);
}

const _: () = assert!(
    BLOCK4.len() == layout::BLOCK6.len(),
    "is_absent takes both names to be of one length"
);
