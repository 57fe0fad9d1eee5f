//! SELinux labels of files: the extended attribute `security.selinux` (attr(5)), which any kernel stores.

use std::{ffi::CString, io};

use nix::{errno::Errno, libc};

const NAME: &std::ffi::CStr = c"security.selinux";
/// Longer than any label that a policy makes.
const MAX_BYTES: usize = 1024;

/// The label of what is at a path, links not followed; none when it has none or its file system knows no labels.
///
/// # Errors
/// When it can't be read.
pub fn get(path: &str) -> io::Result<Option<Vec<u8>>> {
    let path = CString::new(path)?;
    let mut bytes = vec![0_u8; MAX_BYTES];
    // SAFETY: path and name end with a zero, the buffer has the length that is given; the kernel writes no more.
    let length = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            NAME.as_ptr(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
        )
    };
    match Errno::result(length) {
        Ok(length) => {
            bytes.truncate(usize::try_from(length).unwrap_or(0));
            Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
        }
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Labels what is at a path, links not followed.
///
/// # Errors
/// When it can't be labelled.
pub fn set(path: &str, label: &[u8]) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: path and name end with a zero, the label has the length that is given; the kernel only reads them.
    let done = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            NAME.as_ptr(),
            label.as_ptr().cast(),
            label.len(),
            0,
        )
    };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_as_it_was_set() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(get(path).unwrap(), None);
        let label = b"system_u:object_r:etc_t:s0\0";
        match set(path, label) {
            Ok(()) => assert_eq!(get(path).unwrap().as_deref(), Some(&label[..])),
            // Not everybody may.
            Err(error) => assert!(
                matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP)),
                "{error}"
            ),
        }
        assert!(get("/nonexistent").is_err());
    }
}
