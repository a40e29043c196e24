//! The entries of one list, so that a look-up costs as much as the name has labels.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::HostName;
use super::entry::{Entry, What};

/// One list.
#[derive(Debug, Default)]
pub(super) struct Rules {
    every: Vec<Entry>,
    exact: HashMap<HostName, Vec<Entry>>,
    below: HashMap<HostName, Vec<Entry>>,
    nets: Vec<(IpNet, Entry)>,
}

impl FromIterator<Entry> for Rules {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut rules = Self::default();
        for entry in entries {
            match entry.what.clone() {
                What::Every => rules.every.push(entry),
                What::Name(name) => rules.exact.entry(name).or_default().push(entry),
                What::Below(name) => rules.below.entry(name).or_default().push(entry),
                What::Net(net) => rules.nets.push((net, entry)),
            }
        }
        rules
    }
}

impl Rules {
    /// The entries that cover this name at this port; without one, at some port.
    pub(super) fn names<'a>(
        &'a self,
        name: &'a HostName,
        port: Option<u16>,
    ) -> impl Iterator<Item = &'a Entry> {
        self.all_names(name)
            .filter(move |entry| entry.covers_some(port))
    }

    /// The entry that denies this name at this port; without one, at every port.
    pub(super) fn denied<'a>(&'a self, name: &'a HostName, port: Option<u16>) -> Option<&'a Entry> {
        self.all_names(name).find(|entry| entry.covers_all(port))
    }

    /// The entry that denies this address at this port; without one, at every port.
    pub(super) fn denied_address(&self, address: IpAddr, port: Option<u16>) -> Option<&Entry> {
        let mut covering = self.covering(address).map(|(_, entry)| entry);
        covering.find(|entry| entry.covers_all(port))
    }

    fn all_names<'a>(&'a self, name: &'a HostName) -> impl Iterator<Item = &'a Entry> {
        let exact = self.exact.get(name).into_iter();
        let below = name.parents().filter_map(|parent| self.below.get(parent));
        exact.chain(below).flatten().chain(&self.every)
    }

    /// The entries that cover this address at this port; without one, at some port.
    pub(super) fn addresses(
        &self,
        address: IpAddr,
        port: Option<u16>,
    ) -> impl Iterator<Item = &Entry> {
        self.covering(address)
            .map(|(_, entry)| entry)
            .filter(move |entry| entry.covers_some(port))
    }

    /// Whether an entry names this special address: it lies in the range that makes it special.
    pub(super) fn name_special(&self, address: IpAddr, port: Option<u16>, range: IpNet) -> bool {
        self.covering(address)
            .any(|(net, entry)| entry.covers_some(port) && range.contains(net))
    }

    fn covering(&self, address: IpAddr) -> impl Iterator<Item = &(IpNet, Entry)> {
        self.nets
            .iter()
            .filter(move |(net, _)| net.contains(&address))
    }
}
