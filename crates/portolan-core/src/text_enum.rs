//! Enums whose variants are written as fixed words.

/// Implements `ALL`, `as_str`, [`Display`](std::fmt::Display) and [`FromStr`](std::str::FromStr) for an
/// enum from the word of each variant. The error is a tuple struct of the [quoted](crate::quoted) text.
#[macro_export]
macro_rules! text_enum {
    ($type:ident, $error:ident, $($variant:ident => $word:literal),+ $(,)?) => {
        impl $type {
            /// Every variant, in the order of its declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the word of the variant, as in settings and messages.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                let variant = Self::ALL.iter().find(|variant| variant.as_str() == text);
                variant.copied().ok_or_else(|| $error($crate::quoted(text)))
            }
        }
    };
}
