//! The pages of `docs/errors`, so that they are at hand where there is no documentation.

/// The page of each code that is named.
macro_rules! pages {
    ($($code:ident)*) => {
        /// What a diagnostic with `code` means and how to mend it, as Markdown; nothing when there is no such code.
        #[must_use]
        pub fn page(code: &str) -> Option<&'static str> {
            match code {
                $(stringify!($code) => Some(include_str!(concat!("../../../docs/errors/", stringify!($code), ".md"))),)*
                _ => None,
            }
        }
    };
}

pages! {
    P001 P002 P003 P004 P005 P006 P010 P011 P012 P013 P014 P015 P016 P017 P018 P020 P021 P022 P023 P024 P025 P026
    P027 P028 P029 P030 P031 P032 P040 P041 P042 P043 P044 P045 P046 P047 P048 P049 P050 P051 P052 P060 P061 P070
    P071 P080 P081 P082 P083 P084 P085 P086 P087 P088 P089 P090 P091 P092 P093 P094 P096 P097 P098 P099
}
