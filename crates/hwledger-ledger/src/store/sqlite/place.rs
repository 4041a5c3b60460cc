//! Where a ledger must not be.

use std::path::Path;

/// File systems on which locks or syncs are not what SQLite needs.
const NETWORK: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs", "lustre"];

/// The kind of network file system that `folder` lies on; none where it does not, or where nobody can tell.
pub(super) fn network_file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    in_mounts(&folder, &mounts)
}

/// The same by the lines of `/proc/self/mountinfo` (proc(5)): the fifth field is the place, the first behind the dash
/// the kind. The longest place that is a beginning of the path is the one.
fn in_mounts(folder: &Path, mounts: &str) -> Option<String> {
    let kind = mounts
        .lines()
        .filter_map(|line| {
            let place = line.split(' ').nth(4)?.replace("\\040", " ");
            let kind = line.split_once(" - ")?.1.split(' ').next()?;
            folder.starts_with(&place).then_some((place.len(), kind))
        })
        .max_by_key(|(length, _)| *length)?
        .1;
    NETWORK.contains(&kind).then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::in_mounts;

    #[test]
    fn the_nearest_mount_decides() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      30 22 0:40 / /home rw shared:1 - nfs4 box:/home rw\n\
                      31 30 254:1 / /home/local\\040disk rw - xfs /dev/vdb rw\n";
        let kind = |path: &str| in_mounts(Path::new(path), mounts);
        assert_eq!(kind("/var/lib"), None);
        assert_eq!(kind("/home/someone").as_deref(), Some("nfs4"));
        assert_eq!(kind("/homework"), None);
        assert_eq!(kind("/home/local disk/x"), None);
    }
}
