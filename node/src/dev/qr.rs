//! A QR code (ISO/IEC 18004) in the terminal.

use fast_qr::{ECL, QRBuilder};

/// Light modules around it, on each side (section 6.3.8).
const QUIET: usize = 4;
/// White on black, whatever the terminal's own colours are.
const COLOURED: &str = "\x1b[97;40m";
const RESET: &str = "\x1b[0m";

/// Two rows of modules a line; what is light is drawn. `None` if the text is too long for one.
pub(super) fn render(text: &str, coloured: bool) -> Option<String> {
    let code = QRBuilder::new(text).ecl(ECL::L).build().ok()?;
    let side = code.size + 2 * QUIET;
    let is_light = |x: usize, y: usize| {
        let inside = (QUIET..QUIET + code.size).contains(&x) && (QUIET..QUIET + code.size).contains(&y);
        // Below the last line there is nothing to draw.
        y < side && !(inside && code[y - QUIET][x - QUIET].value())
    };
    let lines = (0..side).step_by(2).map(|y| {
        let row: String = (0..side)
            .map(|x| match (is_light(x, y), is_light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect();
        if coloured { format!("{COLOURED}{row}{RESET}\n") } else { format!("{row}\n") }
    });
    Some(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_square_with_a_quiet_zone_and_three_corners() {
        let drawn = render("https://192.168.178.23:3000/", false).unwrap();
        let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let side = lines[0].len();
        assert!(lines.iter().all(|line| line.len() == side) && lines.len() == side.div_ceil(2));
        assert!(lines[..QUIET / 2].iter().flatten().all(|char| *char == '█'), "{drawn}");
        // A finder pattern begins with seven dark modules in its first row, and has a light ring in its second.
        let corner: String = lines[QUIET / 2][QUIET..QUIET + 7].iter().collect();
        assert_eq!(corner, " ▄▄▄▄▄ ");
        let corner: String = lines[QUIET / 2][side - QUIET - 7..side - QUIET].iter().collect();
        assert_eq!(corner, " ▄▄▄▄▄ ");
    }

    #[test]
    fn its_colours_are_its_own() {
        let drawn = render("https://192.168.178.23:3000/", true).unwrap();
        assert!(drawn.lines().all(|line| line.starts_with(COLOURED) && line.ends_with(RESET)));
        assert_eq!(render(&"x".repeat(3000), true), None);
    }
}
