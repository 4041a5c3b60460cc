//! The kinds of value that an event's data may hold. None is a floating-point number.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::hash::Hash;

/// A number of bytes, tokens, nanoseconds, micro-dollars or the like: exact, and written as a decimal string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u64);

/// A difference of such numbers, which may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Difference(pub i64);

/// A number with a fraction (tokens per second, a ratio), as the shortest decimal that is the same double.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// The decimal of a finite number.
    pub fn new(value: f64) -> Option<Self> {
        // Rust writes neither exponents nor superfluous digits; minus zero is zero.
        value.is_finite().then(|| Self(if value == 0.0 { "0".to_owned() } else { format!("{value}") }))
    }

    /// The number.
    pub fn value(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is only readable with a key that can be deleted: XChaCha20-Poly1305 under a subject's own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Names the key.
    pub key: String,
    /// 24 bytes in base64.
    pub nonce: String,
    /// Base64, with the 16 bytes of the tag.
    pub ciphertext: String,
}

/// An estimate with the interval that it was given with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Which figure: `weights_bytes`, `decode_tokens_per_second`, ...
    pub figure: String,
    /// Its middle.
    pub value: Decimal,
    /// Lower end of the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<Decimal>,
    /// Upper end of the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<Decimal>,
    /// What it rests on: `measured`, `calibrated`, `formula`.
    pub basis: String,
}

/// A figure that was measured, or the reason why it was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Which figure, named as in the prediction.
    pub figure: String,
    /// What came out; absent where it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Decimal>,
    /// Where it was read.
    pub source: String,
    /// `measured`, `derived`, `unsupported` or `error`.
    pub quality: String,
    /// Why there is no value, or what makes it doubtful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A prediction beside its measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// Which figure.
    pub figure: String,
    /// Predicted.
    pub predicted: Decimal,
    /// Measured.
    pub measured: Decimal,
    /// Measured divided by predicted.
    pub ratio: Decimal,
    /// Whether the measurement lies in the predicted interval, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_covered: Option<bool>,
    /// What explains the difference, as far as known.
    pub reason: String,
}

macro_rules! decimal_string {
    ($name:ident, $inner:ty, $expected:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                let number: $inner = text.parse().map_err(|_| serde::de::Error::custom($expected))?;
                // One spelling: no plus, no leading zeros.
                if number.to_string() == text { Ok(Self(number)) } else { Err(serde::de::Error::custom($expected)) }
            }
        }
    };
}
decimal_string!(Count, u64, "expected a whole number in a string");
decimal_string!(Difference, i64, "expected a whole number in a string");

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let decimal = text.parse().ok().and_then(Self::new).filter(|decimal| decimal.0 == text);
        decimal.ok_or_else(|| serde::de::Error::custom("expected a decimal number in a string"))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_hexadecimal(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

/// What a type looks like in JSON Schema.
pub(super) trait Described {
    /// Whether a field of this type may be absent.
    const IS_OPTIONAL: bool = false;

    /// The schema.
    fn schema() -> Value;
}

impl Described for String {
    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Described for bool {
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl Described for Count {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^(0|[1-9][0-9]*)$" })
    }
}

impl Described for Difference {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^(0|-?[1-9][0-9]*)$" })
    }
}

impl Described for Decimal {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^-?(0|[1-9][0-9]*)(\\.[0-9]*[1-9])?$" })
    }
}

impl Described for Hash {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

impl<T: Described> Described for Option<T> {
    const IS_OPTIONAL: bool = true;

    fn schema() -> Value {
        T::schema()
    }
}

impl<T: Described> Described for Vec<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// The schema of an object with these fields.
pub(super) fn object(fields: &[(&str, bool, Value)]) -> Value {
    let properties: serde_json::Map<String, Value> =
        fields.iter().map(|(name, _, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = fields.iter().filter(|(_, is_optional, _)| !is_optional).map(|field| field.0).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

macro_rules! described {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        impl Described for $name {
            fn schema() -> Value {
                object(&[$((stringify!($field), <$type>::IS_OPTIONAL, <$type>::schema())),*])
            }
        }
    };
}
described!(Sealed { key: String, nonce: String, ciphertext: String });
described!(Estimate {
    figure: String,
    value: Decimal,
    low: Option<Decimal>,
    high: Option<Decimal>,
    basis: String,
});
described!(Measure {
    figure: String,
    value: Option<Decimal>,
    source: String,
    quality: String,
    reason: Option<String>,
});
described!(Residual {
    figure: String,
    predicted: Decimal,
    measured: Decimal,
    ratio: Decimal,
    is_covered: Option<bool>,
    reason: String,
});

#[cfg(test)]
mod tests {
    use super::{Count, Decimal, Difference};

    #[test]
    fn numbers_have_one_spelling() {
        for text in ["0", "0.1", "-2.5", "1000000000000000000000000000000", "0.000000001", "18446744073709552000"] {
            let decimal: Decimal = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(Decimal::new(decimal.value()).unwrap().to_string(), text);
        }
        for text in ["00", "1.0", "1e3", "+1", "-0", ".5", "NaN", "inf", ""] {
            assert!(serde_json::from_str::<Decimal>(&format!("\"{text}\"")).is_err(), "{text}");
        }
        assert_eq!(Decimal::new(f64::NAN), None);
        assert_eq!(serde_json::to_string(&Count(u64::MAX)).unwrap(), "\"18446744073709551615\"");
        assert!(serde_json::from_str::<Count>("\"+1\"").is_err() && serde_json::from_str::<Count>("1").is_err());
        assert_eq!(serde_json::from_str::<Difference>("\"-5\"").unwrap(), Difference(-5));
    }
}
