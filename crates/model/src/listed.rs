//! Networks that files list, and how such a list changes.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A network of a list that is never touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedNetwork {
    /// The network.
    pub network: IpNet,
    /// The line of the file that it stands on, from 1.
    pub line: u32,
    /// Why, in the words of that line; `None` when the list's own reason holds.
    pub reason: Option<Box<str>>,
}

/// A part of what makes one list of protected networks out of another. A change of any length comes in parts of a
/// bounded size, those that protect more first, so that nothing of both lists is open in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListChange {
    /// Which list: the path of its file.
    pub list: Box<str>,
    /// Why what it lists is protected, for networks without a reason of their own.
    pub reason: Box<str>,
    /// What is listed from here on, or stands on another line.
    pub added: Vec<ListedNetwork>,
    /// What is listed no longer.
    pub removed: Vec<IpNet>,
}
