//! The use cases of hwledger as plain functions on plain values.
