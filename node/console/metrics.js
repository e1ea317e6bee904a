// Prometheus' text format, as the node writes it, and what two readings of it say.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** A page of metrics: by name, what each set of labels has. */
export function parse(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    const [, name, words = "", value] = LINE.exec(line) ?? [];
    if (name === undefined) continue;
    const labels = Object.fromEntries([...words.matchAll(LABEL)].map(([, key, said]) => [key, said]));
    if (!metrics.has(name)) metrics.set(name, []);
    metrics.get(name).push({ labels, value: Number(value) });
  }
  return metrics;
}

/** All of a metric together; 0 where there is none. */
export function sum(metrics, name, where = () => true) {
  const found = metrics.get(name) ?? [];
  return found.filter(({ labels }) => where(labels)).reduce((total, { value }) => total + value, 0);
}

/** By how much a counter grew. One that fell began anew with its process. */
export function growth(before, now, name, where) {
  const [from, to] = [sum(before, name, where), sum(now, name, where)];
  return to >= from ? to - from : to;
}

/** By how much each value of a label grew, the largest first; what did not is left out. */
export function growths(before, now, name, label) {
  const values = new Set((now.get(name) ?? []).map(({ labels }) => labels[label]));
  return [...values]
    .map((value) => [value, growth(before, now, name, (labels) => labels[label] === value)])
    .filter(([, grown]) => grown > 0)
    .sort(([, one], [, other]) => other - one);
}

/** What a share of the observations between two readings were not above; null without any. */
export function quantile(before, now, name, share, where = () => true) {
  const bounds = new Set((now.get(`${name}_bucket`) ?? []).map(({ labels }) => labels.le));
  const buckets = [...bounds]
    .map((le) => ({
      bound: le === "+Inf" ? Infinity : Number(le),
      count: growth(before, now, `${name}_bucket`, (labels) => labels.le === le && where(labels)),
    }))
    .sort((one, other) => one.bound - other.bound);
  const all = buckets.at(-1)?.count ?? 0;
  if (all === 0) return null;
  const found = buckets.findIndex(({ count }) => count >= share * all);
  const [low, lowCount] = found > 0 ? [buckets[found - 1].bound, buckets[found - 1].count] : [0, 0];
  const { bound, count } = buckets[found];
  if (bound === Infinity) return low;
  // As Prometheus does it: within a bucket they lie evenly.
  return low + ((bound - low) * (share * all - lowCount)) / (count - lowCount);
}
