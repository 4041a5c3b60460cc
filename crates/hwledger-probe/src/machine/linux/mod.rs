//! What Linux offers about the host and its devices under `/proc` and `/sys`.
//!
//! Every reader takes the folder under which these are, so that recorded trees are read by the same code.

pub(crate) mod amd;
pub(crate) mod cgroup;
pub(crate) mod disk;
pub(crate) mod drm;
pub(crate) mod energy;
pub(crate) mod fdinfo;
pub(crate) mod host;
pub(crate) mod hwmon;
pub(crate) mod intel;
pub(crate) mod pci_names;
pub(crate) mod tree;
