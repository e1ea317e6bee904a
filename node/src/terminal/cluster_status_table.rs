//! A cluster's status for people.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

use crate::admin::api_types::{self, Majority, Node, Status};

/// What is said in place of the cluster's state at a node that is no part of it.
const REMOVED: &str = "the node that was asked was removed from the cluster: stop it, and ask another one";

/// The status as a table, coloured if `colour`.
pub(crate) fn render(status: &Status, colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(["NODE", "CELL", "ROLE", "HTTP", "ADMIN", "PID", "APPLIED", "LAST LOG"].map(Cell::new));
    for node in &status.nodes {
        let number = |number: u64| Cell::new(number).set_alignment(CellAlignment::Right);
        table.add_row([
            number(node.id),
            node.cell.map_or_else(|| Cell::new(""), |cell| number(u64::from(cell))),
            role(&node.role),
            Cell::new(&node.http),
            Cell::new(&node.admin),
            number(u64::from(node.pid)),
            number(node.applied),
            number(node.last_log),
        ]);
    }
    let faults: String = status.nodes.iter().filter_map(fault).collect();
    if status.removed {
        return format!("{table}\n{REMOVED}\n{faults}");
    }
    let leader = status.leader.map_or("no leader".to_owned(), |id| format!("leader {id}"));
    let majority = status.majority.map(majority).unwrap_or_default();
    // A cluster of one cell is told by the line above.
    let cells: String = match &status.cells[..] {
        [] | [_] => String::new(),
        cells => cells.iter().map(cell).collect(),
    };
    let next = status.next_step.as_ref().map(|step| format!("next: {step}\n")).unwrap_or_default();
    format!("{table}\n{leader}, term {}{majority}\n{cells}{next}{faults}", status.term)
}

/// A cell, on a line.
fn cell(cell: &api_types::Cell) -> String {
    let leader = cell.leader.map_or("no leader".to_owned(), |id| format!("leader {id}"));
    let moving =
        if cell.moving > 0 { format!(", {} on their way to others", cell.moving) } else { String::new() };
    let majority = majority(cell.majority);
    format!("cell {}: {leader}, term {}, {} slots{moving}{majority}\n", cell.cell, cell.term, cell.slots)
}

/// What keeps a node from being reached, on a line. It holds what the other side said, so that control characters go.
fn fault(node: &Node) -> Option<String> {
    let fault: String = node.fault.as_ref()?.chars().filter(|char| !char.is_control()).collect();
    let at = if node.peer.is_empty() { String::new() } else { format!(" at {}", node.peer) };
    Some(format!("node {}{at}: {fault}\n", node.id))
}

fn majority(majority: Majority) -> String {
    let Majority { voters, reachable, needed } = majority;
    let consequence = if reachable < needed { ": nothing can be written" } else { "" };
    format!("; {reachable} of {voters} voters reachable, {needed} needed{consequence}")
}

fn role(role: &str) -> Cell {
    let cell = Cell::new(role);
    match role {
        "leader" => cell.fg(Color::Green).add_attribute(Attribute::Bold),
        "follower" => cell.fg(Color::Green),
        "learner" | "candidate" => cell.fg(Color::Yellow),
        _ => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

/// Whether standard output is a terminal that wants colours (no-color.org).
pub(crate) fn wants_colour() -> bool {
    use std::io::IsTerminal;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let node = |id, role: &str| Node {
            id,
            http: format!("http://127.0.0.1:300{id}"),
            admin: format!("http://127.0.0.1:940{id}"),
            pid: 4000 + id as u32,
            role: role.to_owned(),
            cell: (id < 3).then_some(1),
            applied: 17,
            last_log: 18,
            peer: format!("10.0.0.{id}:7400"),
            fault: (role == "unreachable").then(|| "connection refused\u{1b}".to_owned()),
            ..Node::default()
        };
        Status {
            removed: false,
            leader: Some(2),
            term: 5,
            majority: Some(Majority { voters: 3, reachable: 2, needed: 2 }),
            cells: Vec::new(),
            next_step: None,
            nodes: vec![node(1, "follower"), node(2, "leader"), node(3, "unreachable")],
        }
    }

    #[test]
    fn plain_tables_hold_everything_and_no_escapes() {
        let text = render(&status(), false);
        for part in [
            "http://127.0.0.1:3001",
            "http://127.0.0.1:9403",
            "4002",
            "unreachable",
            "leader 2, term 5; 2 of 3 voters reachable, 2 needed\nnode 3 at 10.0.0.3:7400: connection refused\n",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn colours_are_there_when_wanted() {
        assert!(render(&status(), true).contains('\u{1b}'));
    }

    #[test]
    fn each_of_several_cells_is_told_on_a_line() {
        let majority = Majority { voters: 3, reachable: 3, needed: 2 };
        let cell =
            |cell, leader, moving| api_types::Cell { cell, leader, term: 4, majority, slots: 512, moving };
        let text = render(&Status { cells: vec![cell(1, Some(2), 7), cell(2, None, 0)], ..status() }, false);
        assert!(
            text.contains("cell 1: leader 2, term 4, 512 slots, 7 on their way to others; 3 of 3 voters"),
            "{text}"
        );
        assert!(
            text.contains("cell 2: no leader, term 4, 512 slots; 3 of 3 voters reachable, 2 needed\n"),
            "{text}"
        );
    }

    #[test]
    fn a_cluster_without_a_leader_says_so() {
        let majority = Some(Majority { voters: 3, reachable: 1, needed: 2 });
        let text = render(
            &Status {
                removed: false,
                leader: None,
                term: 9,
                majority,
                cells: Vec::new(),
                next_step: None,
                nodes: Vec::new(),
            },
            false,
        );
        let said = "no leader, term 9; 1 of 3 voters reachable, 2 needed: nothing can be written";
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn a_node_that_was_removed_says_nothing_of_the_cluster() {
        let status = Status { removed: true, leader: None, majority: None, ..status() };
        let text = render(&status, false);
        assert!(text.contains("was removed from the cluster: stop it"), "{text}");
        assert!(!text.contains(", term") && !text.contains("voters"), "{text}");
    }
}
