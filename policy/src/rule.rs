//! The rules of a decision, in the order in which they are asked (contract, section 3).

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $question:literal;)*) => {
        /// A rule of a decision. Rules are asked in this order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// Every rule, in order.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];

            /// The rule's number in the contract.
            #[must_use]
            pub const fn number(self) -> &'static str {
                match self { $(Self::$name => $number,)* }
            }

            /// What the rule asks, in a few words.
            #[must_use]
            pub const fn question(self) -> &'static str {
                match self { $(Self::$name => $question,)* }
            }
        }
    };
}

rules! {
    /// 0: paths that pass without an identity.
    Anonymous = "0", "path needs no identity";
    /// 1: the peer's address is known, and comes from the socket.
    Peer = "1", "peer's address is known";
    /// 2: the peer is in the list of proxies.
    TrustedProxy = "2", "peer is a trusted proxy";
    /// 3: a loopback peer is allowed.
    Loopback = "3", "loopback peer is allowed";
    /// 3b: the peer is another host.
    SameHost = "3b", "peer is another host";
    /// 4: the peer's certificate is trusted.
    Certificate = "4", "peer's certificate";
    /// 5: a client address can be attributed.
    Attribution = "5", "client address is known";
    /// 6: the required headers are present.
    RequiredHeaders = "6", "required headers";
    /// 6b: headers hold the secrets that only the proxy knows.
    RequiredValues = "6b", "required values";
    /// 7: the user header names a user.
    User = "7", "user header";
    /// 7b: the user header and the groups header are not repeated, and the groups can be read.
    Repeated = "7b", "identity headers are not repeated";
    /// 8: Envoy has verified an identity.
    Assertion = "8", "verified identity";
    /// 9: the user is allowed.
    AllowedUser = "9", "user is allowed";
    /// 10: the browser's origin is allowed.
    Origin = "10", "browser's origin";
}

impl Rule {
    /// Whether `webSocketRefusal: "delegate"` leaves this rule to the Gateway.
    #[must_use]
    pub const fn is_delegable(self) -> bool {
        matches!(self, Self::RequiredHeaders | Self::User | Self::AllowedUser)
    }
}
