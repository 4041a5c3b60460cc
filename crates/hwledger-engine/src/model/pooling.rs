//! How the states of a text's tokens become one vector.

use hwledger_formats::gguf::Header;

use crate::error::LoadError;

/// Which states a vector is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all tokens' (Reimers and Gurevych 2019).
    Mean,
    /// The first token's, which is `[CLS]` in BERT.
    Cls,
    /// The last token's, the only one that has seen the whole text in a decoder.
    Last,
}

impl Pooling {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mean, Self::Cls, Self::Last];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
        }
    }

    /// The one of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pooling| pooling.name() == name)
    }
}

/// What a model's files say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolingSettings {
    /// Which states; none where the files do not say.
    pub pooling: Option<Pooling>,
    /// Whether vectors are brought to length one; none where the files do not say.
    pub is_normalised: Option<bool>,
}

impl PoolingSettings {
    /// What a GGUF header says, by the numbers of llama.cpp's `llama_pooling_type`.
    pub(super) fn read(header: &Header) -> Result<Self, LoadError> {
        let key = format!("{}.pooling_type", header.architecture().unwrap_or_default());
        let pooling = match header.metadata.unsigned(&key) {
            None | Some(0) => None,
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::Cls),
            Some(3) => Some(Pooling::Last),
            Some(4) => return Err(LoadError::Unsupported("models that rank pairs of texts".to_owned())),
            Some(other) => {
                let hint = "it must be from 0 to 4";
                return Err(LoadError::Setting { key, found: other.to_string(), hint });
            }
        };
        Ok(Self { pooling, is_normalised: None })
    }
}
