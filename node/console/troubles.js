// What an operator has to know of a status, in sentences. The worst comes first.

const nodes = (count) => (count === 1 ? "1 node" : `${count} nodes`);

/** What is wrong: each with how bad it is, `bad` or `warn`, and a sentence. */
export function troubles(status, failing) {
  const found = [];
  const say = (state, text) => found.push({ state, text });
  for (const { cell, leader, majority } of status.cells ?? []) {
    const { voters, reachable, needed } = majority;
    const name = status.cells.length > 1 ? `Cell ${cell}` : "The cluster";
    if (reachable < needed)
      say("bad", `${name} has lost its majority: ${reachable} of ${voters} voters answer, ${needed} are needed. Start the others again; nothing that was acknowledged is lost.`);
    else if (leader === null)
      say("bad", `${name} has no leader. One is elected within a second as a rule.`);
    else if (reachable < voters)
      say("warn", reachable > needed
        ? `${name} goes on without ${nodes(voters - reachable)}.`
        : `${name} goes on without ${nodes(voters - reachable)}, and stops if one more fails.`);
  }
  for (const { id, fault } of status.nodes) if (fault) say("warn", `Node ${id}: ${fault}`);
  if (failing.length > 0) say("bad", `This node is not ready: ${failing.join(", ")}.`);
  const order = { bad: 0, warn: 1 };
  return found.sort((one, other) => order[one.state] - order[other.state]);
}

/** How many entries of its cell's log each node has not applied yet. */
export function lags(status) {
  const ends = new Map();
  for (const { cell, last_log } of status.nodes) ends.set(cell, Math.max(ends.get(cell) ?? 0, last_log));
  return new Map(status.nodes.map(({ id, cell, applied }) => [id, Math.max(0, ends.get(cell) - applied)]));
}
