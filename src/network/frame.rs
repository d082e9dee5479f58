//! Ethernet frames that carry one UDP datagram, as packet sockets receive and send them. The client
//! and the server in `--mode tap` share them.
//!
//! etherparse splits the headers and writes them. [`Datagram::parse`] adds what etherparse leaves
//! to its caller: it verifies no checksum, and it takes a UDP length or an IPv6 payload length of
//! zero (jumbograms, RFC 2675) for "the rest of the frame".
//!
//! Three kinds of frames are refused, although etherparse can read them: IP fragments, IPv6
//! extension headers and VLAN tags. Neither clients nor relays send the first two with these
//! messages, and a reply to a tagged frame would leave without its tag. The kernel delivers the
//! frames of a VLAN on an interface of its own (`eth0.5`), without the tag.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    Ethernet2Slice, Ipv4Slice, Ipv6Slice, LenSource, PacketBuilder, UdpSlice, ether_type, ip_number,
};

/// An Ethernet (MAC) address.
pub(super) type EthernetAddress = [u8; 6];

/// The destination of frames for every host of the segment.
pub(super) const BROADCAST: EthernetAddress = [0xFF; 6];
/// TTL of IPv4 and hop limit of IPv6: the default of RFC 1340, which Linux uses, too.
const HOP_LIMIT: u8 = 64;

/// A UDP datagram in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    /// The sender on this segment: the host of `source`, or a router.
    pub(super) neighbor: EthernetAddress,
    pub(super) source: IpAddr,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The UDP datagram in a frame; `None` for any other frame, and for one that is cut off,
    /// inconsistent or fails a checksum.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
        let packet = ethernet.payload_slice();
        let (source, destination, udp) = match ethernet.ether_type() {
            ether_type::IPV4 => udp_over_ipv4(packet)?,
            ether_type::IPV6 => udp_over_ipv6(packet)?,
            _ => return None,
        };
        let udp = UdpSlice::from_slice(udp).ok()?;
        if udp.length() == 0 || !checksum_is_valid(source, destination, &udp) {
            return None;
        }
        Some(Self {
            neighbor: ethernet.source(),
            source,
            source_port: udp.source_port(),
            destination_port: udp.destination_port(),
            payload: udp.payload(),
        })
    }
}

fn udp_over_ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let packet = Ipv4Slice::from_slice(packet).ok()?;
    let header = packet.header();
    let sum = Sum16BitWords::new().add_slice(header.slice());
    let is_valid = sum.ones_complement() == 0
        && header.protocol() == ip_number::UDP
        && !packet.is_payload_fragmented();
    is_valid.then(|| {
        (
            header.source_addr().into(),
            header.destination_addr().into(),
            packet.payload().payload,
        )
    })
}

fn udp_over_ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let packet = Ipv6Slice::from_slice(packet).ok()?;
    let header = packet.header();
    let is_valid = header.next_header() == ip_number::UDP
        && packet.payload().len_source == LenSource::Ipv6HeaderPayloadLen;
    is_valid.then(|| {
        (
            header.source_addr().into(),
            header.destination_addr().into(),
            packet.payload().payload,
        )
    })
}

/// Whether a UDP checksum is right, or absent where IPv4 permits that (RFC 768).
///
/// A virtual interface may deliver a datagram whose checksum its sender left to hardware that does
/// not exist. The field then holds the sum of the pseudo-header alone, which is accepted.
fn checksum_is_valid(source: IpAddr, destination: IpAddr, udp: &UdpSlice<'_>) -> bool {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Sum16BitWords::new()
            .add_4bytes(source.octets())
            .add_4bytes(destination.octets()),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Sum16BitWords::new()
            .add_16bytes(source.octets())
            .add_16bytes(destination.octets()),
        _ => return false,
    };
    // The pseudo-headers of IPv4 (RFC 768) and IPv6 (RFC 8200, section 8.1) differ only in zeros,
    // which do not change the sum.
    let pseudo_header = addresses
        .add_2bytes([0, ip_number::UDP.0])
        .add_2bytes(udp.length().to_be_bytes());
    let partial = (!pseudo_header.ones_complement()).to_be();
    let absent = udp.checksum() == 0 && source.is_ipv4();
    absent
        || udp.checksum() == partial
        || pseudo_header.add_slice(udp.slice()).ones_complement() == 0
}

/// From where to where a frame goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) ethernet_source: EthernetAddress,
    pub(super) ethernet_destination: EthernetAddress,
    /// IP address and UDP port, of the same family as `destination`.
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

impl Addresses {
    /// A frame with this payload; `None` if the payload is too long for a UDP datagram or the
    /// addresses are of different families.
    pub(super) fn frame(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let builder = PacketBuilder::ethernet2(self.ethernet_source, self.ethernet_destination);
        let builder = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                builder.ipv4(source.octets(), destination.octets(), HOP_LIMIT)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                builder.ipv6(source.octets(), destination.octets(), HOP_LIMIT)
            }
            _ => return None,
        };
        let builder = builder.udp(self.source.port(), self.destination.port());
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write_to_vec(&mut frame, payload).ok()?;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: EthernetAddress = [2, 0, 0, 0, 0, 1];
    const ETHERNET_LEN: usize = 14;
    const UDP_IN_IPV4: usize = ETHERNET_LEN + 20;
    const UDP_IN_IPV6: usize = ETHERNET_LEN + 40;

    fn addresses(source: &str, destination: &str) -> Addresses {
        Addresses {
            ethernet_source: SENDER,
            ethernet_destination: BROADCAST,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    /// An odd length, whose last byte the checksum must not lose.
    const PAYLOAD: &[u8] = b"odd";

    fn ipv4() -> Vec<u8> {
        let addresses = addresses("10.77.0.50:68", "255.255.255.255:67");
        addresses.frame(PAYLOAD).unwrap()
    }

    fn ipv6() -> Vec<u8> {
        let addresses = addresses("[fe80::1]:546", "[ff02::1:2]:547");
        addresses.frame(PAYLOAD).unwrap()
    }

    /// Makes the checksum of the IPv4 header right again.
    fn repair_header(frame: &mut [u8]) {
        frame[ETHERNET_LEN + 10..ETHERNET_LEN + 12].fill(0);
        let header = &frame[ETHERNET_LEN..UDP_IN_IPV4];
        let sum = Sum16BitWords::new().add_slice(header).ones_complement();
        frame[ETHERNET_LEN + 10..ETHERNET_LEN + 12].copy_from_slice(&sum.to_ne_bytes());
    }

    #[test]
    fn reads_back_what_it_wrote() {
        for (frame, source, ports) in [
            (ipv4(), "10.77.0.50", (68, 67)),
            (ipv6(), "fe80::1", (546, 547)),
        ] {
            let datagram = Datagram::parse(&frame).unwrap();
            assert_eq!(datagram.neighbor, SENDER);
            assert_eq!(datagram.source, source.parse::<IpAddr>().unwrap());
            assert_eq!((datagram.source_port, datagram.destination_port), ports);
            assert_eq!(datagram.payload, PAYLOAD);
        }
    }

    #[test]
    fn ignores_the_padding_of_a_short_frame() {
        for mut frame in [ipv4(), ipv6()] {
            frame.resize(60.max(frame.len() + 5), 0xEE);
            assert_eq!(Datagram::parse(&frame).unwrap().payload, PAYLOAD);
        }
    }

    #[test]
    fn refuses_frames_that_are_cut_off() {
        for frame in [ipv4(), ipv6()] {
            for len in 0..frame.len() {
                assert_eq!(Datagram::parse(&frame[..len]), None, "{len} bytes");
            }
        }
    }

    #[test]
    fn refuses_a_flipped_bit_in_all_that_a_checksum_covers() {
        let ipv4 = (ipv4(), ETHERNET_LEN);
        // IPv6 has no checksum: the addresses and UDP are covered by that of UDP.
        let ipv6 = (ipv6(), ETHERNET_LEN + 8);
        for (frame, covered) in [ipv4, ipv6] {
            for bit in 8 * covered..8 * frame.len() {
                let mut frame = frame.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Datagram::parse(&frame), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn accepts_a_checksum_that_was_left_to_the_hardware() {
        for (mut frame, udp, addresses) in [
            (ipv4(), UDP_IN_IPV4, ETHERNET_LEN + 12),
            (ipv6(), UDP_IN_IPV6, ETHERNET_LEN + 8),
        ] {
            let sum = Sum16BitWords::new()
                .add_slice(&frame[addresses..udp])
                .add_2bytes([0, ip_number::UDP.0])
                .add_slice(&frame[udp + 4..udp + 6])
                .ones_complement();
            frame[udp + 6..udp + 8].copy_from_slice(&(!sum).to_ne_bytes());
            assert!(Datagram::parse(&frame).is_some());
            frame[udp + 7] ^= 1;
            assert_eq!(Datagram::parse(&frame), None);
        }
    }

    #[test]
    fn accepts_a_missing_checksum_with_ipv4_only() {
        let mut frame = ipv4();
        frame[UDP_IN_IPV4 + 6..UDP_IN_IPV4 + 8].fill(0);
        assert!(Datagram::parse(&frame).is_some());
        let mut frame = ipv6();
        frame[UDP_IN_IPV6 + 6..UDP_IN_IPV6 + 8].fill(0);
        assert_eq!(Datagram::parse(&frame), None);
    }

    #[test]
    fn refuses_lengths_that_do_not_fit() {
        // The UDP checksum of IPv4 is left out, so that only the length is wrong.
        for len in [0_u16, 7, 12, 0xFFFF] {
            let mut frame = ipv4();
            frame[UDP_IN_IPV4 + 4..UDP_IN_IPV4 + 6].copy_from_slice(&len.to_be_bytes());
            frame[UDP_IN_IPV4 + 6..UDP_IN_IPV4 + 8].fill(0);
            assert_eq!(Datagram::parse(&frame), None, "UDP length {len}");
        }
        for len in [0_u16, 19, 32, 0xFFFF] {
            let mut frame = ipv4();
            frame[ETHERNET_LEN + 2..ETHERNET_LEN + 4].copy_from_slice(&len.to_be_bytes());
            repair_header(&mut frame);
            assert_eq!(Datagram::parse(&frame), None, "IPv4 total length {len}");
        }
        for len in [0_u16, 10, 12, 0xFFFF] {
            let mut frame = ipv6();
            frame[ETHERNET_LEN + 4..ETHERNET_LEN + 6].copy_from_slice(&len.to_be_bytes());
            assert_eq!(Datagram::parse(&frame), None, "IPv6 payload length {len}");
        }
    }

    #[test]
    fn refuses_fragments() {
        // More fragments follow; the second fragment.
        for flags in [0x2000_u16, 0x0001] {
            let mut frame = ipv4();
            frame[ETHERNET_LEN + 6..ETHERNET_LEN + 8].copy_from_slice(&flags.to_be_bytes());
            repair_header(&mut frame);
            assert_eq!(Datagram::parse(&frame), None, "{flags:#06x}");
        }
    }

    #[test]
    fn refuses_other_protocols_and_versions() {
        let mut tcp = ipv4();
        tcp[ETHERNET_LEN + 9] = ip_number::TCP.0;
        repair_header(&mut tcp);
        assert_eq!(Datagram::parse(&tcp), None);
        let mut short_header = ipv4();
        short_header[ETHERNET_LEN] = 0x44;
        repair_header(&mut short_header);
        assert_eq!(Datagram::parse(&short_header), None);
        let mut arp = ipv4();
        arp[12..14].copy_from_slice(&ether_type::ARP.0.to_be_bytes());
        assert_eq!(Datagram::parse(&arp), None);
        let mut swapped = ipv4();
        swapped[12..14].copy_from_slice(&ether_type::IPV6.0.to_be_bytes());
        assert_eq!(Datagram::parse(&swapped), None);
    }

    #[test]
    fn refuses_extension_headers_of_ipv6() {
        for kind in [
            ip_number::IPV6_HEADER_HOP_BY_HOP,
            ip_number::IPV6_DESTINATION_OPTIONS,
            ip_number::IPV6_FRAGMENTATION_HEADER,
        ] {
            let mut frame = ipv6();
            frame[ETHERNET_LEN + 6] = kind.0;
            let len = (frame.len() - UDP_IN_IPV6 + 8) as u16;
            frame[ETHERNET_LEN + 4..ETHERNET_LEN + 6].copy_from_slice(&len.to_be_bytes());
            // Next header UDP, 8 bytes, one option of padding (PadN, RFC 8200, section 4.2).
            let extension = [ip_number::UDP.0, 0, 1, 4, 0, 0, 0, 0];
            frame.splice(UDP_IN_IPV6..UDP_IN_IPV6, extension);
            assert_eq!(Datagram::parse(&frame), None, "{kind:?}");
        }
    }

    #[test]
    fn refuses_vlan_tags() {
        for tag in [
            ether_type::VLAN_TAGGED_FRAME,
            ether_type::VLAN_DOUBLE_TAGGED_FRAME,
        ] {
            let mut frame = ipv4();
            let [high, low] = tag.0.to_be_bytes();
            frame.splice(12..12, [high, low, 0, 5]);
            assert_eq!(Datagram::parse(&frame), None, "{tag:?}");
        }
    }

    #[test]
    fn writes_no_frame_between_two_families_or_of_too_much() {
        let mixed = addresses("10.77.0.50:68", "[ff02::1:2]:547");
        assert_eq!(mixed.frame(PAYLOAD), None);
        let ipv4 = addresses("10.77.0.50:68", "255.255.255.255:67");
        assert_eq!(ipv4.frame(&vec![0; 65_536]), None);
    }
}
