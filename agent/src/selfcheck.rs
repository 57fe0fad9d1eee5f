//! Is the ramdisk complete?
