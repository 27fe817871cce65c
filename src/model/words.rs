/// Declares an enum with the word that stands for each variant in tables, logs and metrics: the one list from which `ALL`,
/// `as_str` and `parse` are made, so that none of them can leave a variant out.
macro_rules! words {
    (
        $(#[$of_enum:meta])*
        pub enum $name:ident {
            $($(#[doc = $doc:literal])+ $(#[cfg($condition:meta)])? $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$of_enum])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $(#[cfg($condition)])? $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($(#[cfg($condition)])? $word,)+].len()] =
                [$($(#[cfg($condition)])? Self::$variant,)+];

            /// The word in tables, logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(#[cfg($condition)])? Self::$variant => $word,)+
                }
            }

            /// Reads the word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == word)
            }
        }
    };
}

pub(super) use words;
