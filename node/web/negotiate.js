// Perfect negotiation of a WebRTC connection, over whatever carries small messages between two peers.
//
//   const { pc, receive } = negotiate((type, payload) => client.signal(peer, type, payload), { polite: true });
//   client.on("signal", ({ type, payload }) => receive(type, payload));

/**
 * Perfect negotiation (the pattern of the WebRTC specification): either side may change the connection at any time;
 * where two offers meet, the polite one gives way. `send(type, payload)` carries a signal to the other side; hand
 * what comes from there to `receive`.
 */
export function negotiate(send, { polite, config } = {}) {
  const pc = new RTCPeerConnection(config);
  let making = false,
    ignoring = false,
    answering = false;
  const tell = (type, payload) => Promise.resolve(send(type, payload)).catch(() => {});
  pc.onnegotiationneeded = async () => {
    try {
      making = true;
      await pc.setLocalDescription();
      await tell(pc.localDescription.type, pc.localDescription.toJSON());
    } finally {
      making = false;
    }
  };
  pc.onicecandidate = ({ candidate }) => candidate && tell("ice-candidate", candidate.toJSON());
  pc.addEventListener(
    "iceconnectionstatechange",
    () => pc.iceConnectionState === "failed" && pc.restartIce(),
  );
  const receive = async (type, payload) => {
    if (type === "ice-candidate") {
      return pc.addIceCandidate(payload).catch((error) => {
        if (!ignoring) throw error;
      });
    }
    const ready = !making && (pc.signalingState === "stable" || answering);
    ignoring = !polite && type === "offer" && !ready;
    if (ignoring) return;
    answering = type === "answer";
    await pc.setRemoteDescription(payload);
    answering = false;
    if (type !== "offer") return;
    await pc.setLocalDescription();
    await tell(pc.localDescription.type, pc.localDescription.toJSON());
  };
  return { pc, receive, close: () => pc.close() };
}
