//! The hwledger command line.

fn main() {}
