//! What the sockets of client and server have in common: filters in the kernel for packet sockets, and
//! the receive buffer. Both keep what other hosts send from crowding out the packets that matter.

use std::os::fd::AsFd;

use etherparse::{ether_type, ip_number};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockFilter;

/// The kernel's receive buffer: a few thousand packets can wait in it until they are read.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The bits of the IPv4 fragment field that a whole packet has clear: the offset and "more
/// fragments" (RFC 791, section 3.1).
const FRAGMENT: u16 = 0x3FFF;

/// Sets the receive buffer to [`RECEIVE_BUFFER`], or to the system's limit (`net.core.rmem_max`)
/// where the process may not exceed it.
pub(super) fn enlarge_receive_buffer(socket: &impl AsFd) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    }
}

/// The instructions of classic BPF that the filters use: the codes of linux/filter.h, combined.
mod bpf {
    pub(super) const LOAD_HALF: u16 = 0x28;
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const LOAD_HALF_INDEXED: u16 = 0x48;
    /// Loads the length of the IPv4 header, which is in the low half of its first byte.
    pub(super) const LOAD_HEADER_LEN: u16 = 0xB1;
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    pub(super) const JUMP_ANY_BIT: u16 = 0x45;
    pub(super) const RETURN: u16 = 0x06;
    /// Returned by a filter to accept a frame: up to so many bytes of it.
    pub(super) const ALL: u32 = u32::MAX;
}

/// Accepts IPv4 with UDP to this port, and no fragments. The numbers are offsets in the frame; a jump
/// counts the instructions that it skips.
pub(super) fn filter4(port: u16) -> Vec<SockFilter> {
    vec![
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 12),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 8, ether_type::IPV4.0.into()),
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, 23),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 6, ip_number::UDP.0.into()),
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 20),
        SockFilter::new(bpf::JUMP_ANY_BIT, 4, 0, FRAGMENT.into()),
        SockFilter::new(bpf::LOAD_HEADER_LEN, 0, 0, 14),
        SockFilter::new(bpf::LOAD_HALF_INDEXED, 0, 0, 16),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 1, port.into()),
        SockFilter::new(bpf::RETURN, 0, 0, bpf::ALL),
        SockFilter::new(bpf::RETURN, 0, 0, 0),
    ]
}

/// Accepts IPv6 with UDP to this port, directly after the IPv6 header.
pub(super) fn filter6(port: u16) -> Vec<SockFilter> {
    vec![
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 12),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 5, ether_type::IPV6.0.into()),
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, 20),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 3, ip_number::UDP.0.into()),
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 56),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 1, port.into()),
        SockFilter::new(bpf::RETURN, 0, 0, bpf::ALL),
        SockFilter::new(bpf::RETURN, 0, 0, 0),
    ]
}
