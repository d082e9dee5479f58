//! Compressed files: LZNT1, XPRESS and LZX.
