//! Finishing: files and EFI variables, after the image is proven.
