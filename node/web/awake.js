// Keeps the screen on while a code is shown or bytes move: a phone that locks itself ends what its page does.

let wanted = false;
let lock = null;
let asking = false;

async function take() {
  if (!wanted || lock || asking || document.visibilityState !== "visible") return;
  asking = true;
  // A browser may refuse, to save a battery that is almost empty; then it is as it was without.
  const taken = await navigator.wakeLock?.request("screen").catch(() => null);
  asking = false;
  if (!taken) return;
  if (!wanted) return void taken.release();
  lock = taken;
  taken.addEventListener("release", () => {
    if (lock === taken) lock = null;
  });
}

/** Whether the screen shall stay on from now on. */
export function awake(on) {
  wanted = on;
  if (on) return void take();
  lock?.release().catch(() => {});
  lock = null;
}

// A page that is hidden loses its lock; once it is looked at again it takes another one.
document.addEventListener("visibilitychange", () => void take());
