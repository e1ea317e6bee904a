// Perfect negotiation of a WebRTC connection, over whatever carries small messages between two peers.
//
//   const { pc, receive } = negotiate((type, payload) => client.signal(peer, type, payload), { polite: true });
//   client.on("signal", ({ type, payload }) => receive(type, payload));

/** Candidates that may wait for the description that they belong to. */
const CANDIDATES_MAX = 64;

/**
 * Perfect negotiation (the pattern of the WebRTC specification): either side may change the connection at any time;
 * where two offers meet, the polite one gives way. `send(type, payload)` carries a signal to the other side; hand
 * what comes from there to `receive`. Candidates that overtook their description wait for it.
 */
export function negotiate(send, { polite, config, onerror } = {}) {
  const pc = new RTCPeerConnection(config);
  let making = false,
    ignoring = false,
    answering = false;
  let early = [];
  // Browsers never settle what was under way when a connection was closed, and a program that waits for it would wait for
  // ever: with `client.on("signal")`, for every signal after it.
  let gone;
  const closed = new Promise((resolve) => (gone = resolve));
  const close = () => {
    RTCPeerConnection.prototype.close.call(pc);
    gone();
  };
  pc.close = close;
  const tell = (type, payload) =>
    new Promise((resolve) => resolve(send(type, payload))).catch((error) => void onerror?.(error));
  pc.onnegotiationneeded = async () => {
    try {
      making = true;
      await pc.setLocalDescription();
      await tell(pc.localDescription.type, pc.localDescription.toJSON());
    } catch (error) {
      if (pc.signalingState === "closed") return;
      if (!onerror) throw error;
      onerror(error);
    } finally {
      making = false;
    }
  };
  pc.onicecandidate = ({ candidate }) => candidate && tell("ice-candidate", candidate.toJSON());
  pc.addEventListener(
    "iceconnectionstatechange",
    () => pc.iceConnectionState === "failed" && pc.restartIce(),
  );
  const take = async (type, payload) => {
    if (type === "ice-candidate") {
      if (!pc.remoteDescription && !ignoring) {
        if (early.length < CANDIDATES_MAX) early.push(payload);
        return;
      }
      return pc.addIceCandidate(payload).catch((error) => {
        if (!ignoring) throw error;
      });
    }
    const ready = !making && (pc.signalingState === "stable" || answering);
    ignoring = !polite && type === "offer" && !ready;
    if (ignoring) return;
    answering = type === "answer";
    await pc.setRemoteDescription(payload).finally(() => (answering = false));
    // One that belongs to another description is no loss.
    const waiting = early;
    early = [];
    await Promise.all(waiting.map((candidate) => pc.addIceCandidate(candidate).catch(() => {})));
    if (type !== "offer") return;
    await pc.setLocalDescription();
    await tell(pc.localDescription.type, pc.localDescription.toJSON());
  };
  const receive = async (type, payload) => {
    // What comes late, and what is a program's own business: `ready`, `bye`.
    if (pc.signalingState === "closed" || !["offer", "answer", "ice-candidate"].includes(type)) return;
    await Promise.race([take(type, payload), closed]);
  };
  return { pc, receive, close };
}
