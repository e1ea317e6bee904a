//! Ports that no browser opens.

/// The bad ports of the Fetch standard, which are those of other protocols. Port 0 is left out: it takes a free one.
const BLOCKED: [u16; 82] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10_080,
];

/// Whether browsers refuse to open this port.
pub(crate) fn is_blocked(port: u16) -> bool {
    BLOCKED.contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_other_protocols_are_not_opened() {
        for port in [25, 5060, 6000, 6697, 10_080] {
            assert!(is_blocked(port), "{port}");
        }
        for port in [0, 80, 443, 3000, 8443, 10_081] {
            assert!(!is_blocked(port), "{port}");
        }
        assert!(BLOCKED.is_sorted());
    }
}
