//! Settings that are one word out of a few, as the kernel spells them and numbers them.

/// Makes an enum whose members have the kernel's word and number.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal, $number:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the kernel's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The kernel's word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// From the kernel's word or number ("4"), as some clouds write it.
            #[must_use]
            pub fn from_word(text: &str) -> Option<Self> {
                match text { $($word | $number => Some(Self::$variant),)+ _ => None }
            }

            /// The words, for a message.
            #[must_use]
            pub fn choices() -> String {
                [$($word,)+].join(", ")
            }
        }
    };
}

words! {
    /// How a bond uses its members.
    BondMode {
        /// One after the other.
        BalanceRr = "balance-rr", "0";
        /// One, and another when it fails.
        ActiveBackup = "active-backup", "1";
        /// By a hash of the packet.
        BalanceXor = "balance-xor", "2";
        /// All at once.
        Broadcast = "broadcast", "3";
        /// LACP, agreed on with the switch.
        Lacp = "802.3ad", "4";
        /// Sends by load, receives with one.
        BalanceTlb = "balance-tlb", "5";
        /// Sends and receives by load.
        BalanceAlb = "balance-alb", "6";
    }
}

words! {
    /// How often LACP packets are asked of the switch.
    LacpRate {
        /// Every 30 s.
        Slow = "slow", "0";
        /// Every second.
        Fast = "fast", "1";
    }
}

words! {
    /// What the hash is made of that chooses the member of a packet.
    XmitHash {
        /// MAC addresses.
        Layer2 = "layer2", "0";
        /// IP addresses and ports.
        Layer34 = "layer3+4", "1";
        /// MAC and IP addresses.
        Layer23 = "layer2+3", "2";
        /// The same as `layer2+3`, of the inner packet of a tunnel.
        Encap23 = "encap2+3", "3";
        /// The same as `layer3+4`, of the inner packet of a tunnel.
        Encap34 = "encap3+4", "4";
        /// VLAN and source MAC address.
        VlanSrcMac = "vlan+srcmac", "5";
    }
}

words! {
    /// When LACP chooses another aggregator.
    AdSelect {
        /// When the present one has lost all its members.
        Stable = "stable", "0";
        /// When another one has more bandwidth.
        Bandwidth = "bandwidth", "1";
        /// When another one has more members.
        Count = "count", "2";
    }
}

impl BondMode {
    /// Whether one member can be preferred.
    #[must_use]
    pub const fn has_primary(self) -> bool {
        matches!(self, Self::ActiveBackup | Self::BalanceTlb | Self::BalanceAlb)
    }

    /// Whether a hash chooses the member.
    #[must_use]
    pub const fn has_hash(self) -> bool {
        matches!(self, Self::BalanceXor | Self::Lacp | Self::BalanceTlb)
    }

    /// Whether members may be watched by ARP.
    #[must_use]
    pub const fn has_arp(self) -> bool {
        !matches!(self, Self::Lacp | Self::BalanceTlb | Self::BalanceAlb)
    }
}
