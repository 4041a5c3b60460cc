//! Towers that several families share.

pub(crate) mod conformer;
pub(crate) mod moonvit;
pub(crate) mod qwen_vision;
pub(crate) mod siglip;
