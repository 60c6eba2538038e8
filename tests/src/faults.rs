//! Partitions of the network of hosts: packets are dropped silently, as by a broken switch.

use anyhow::Result;

use crate::hosts::Host;

// === impl Host ===

impl Host<'_> {
    /// Cuts this host off from these others, in both directions. It still reaches all the rest.
    ///
    /// # Errors
    /// iptables is not installed, or fails.
    pub fn cut_off_from<'a>(&self, others: impl IntoIterator<Item = &'a Host<'a>>) -> Result<()> {
        for other in others {
            let address = other.address();
            self.shell(&format!(
                "iptables -A INPUT -s {address} -j DROP && iptables -A OUTPUT -d {address} -j DROP"
            ))?;
        }
        Ok(())
    }

    /// Ends all that [`cut_off_from`](Self::cut_off_from) began.
    ///
    /// # Errors
    /// iptables is not installed, or fails.
    pub fn reach_all(&self) -> Result<()> {
        self.shell("iptables -F").map(drop)
    }

    /// Cuts this host off from everything.
    ///
    /// # Errors
    /// The command fails.
    pub fn unplug(&self) -> Result<()> {
        self.shell("iptables -A INPUT ! -i lo -j DROP && iptables -A OUTPUT ! -o lo -j DROP")
            .map(drop)
    }
}
