//! Which leaders are heard.

use super::*;

#[test]
fn a_cell_that_is_closed_is_not_heard_and_one_that_is_newer_is() {
    let cells = [1, 2].map(CellId::of);
    let placed = BTreeSet::from([cells[0]]);
    assert!(is_closed(cells[1], 7, 7, &placed) && is_closed(cells[1], 3, 7, &placed));
    assert!(!is_closed(cells[1], 8, 7, &placed), "it was opened since");
    assert!(!is_closed(cells[0], 3, 7, &placed));
    assert!(!is_closed(cells[1], 0, 0, &BTreeSet::new()), "nothing is known of cells");
}
