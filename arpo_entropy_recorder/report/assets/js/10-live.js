// Only in a page that `watch` serves: loads it again when the run has new steps; the address keeps what is chosen.
async function refresh(every) {
  try {
    const answer = await fetch("version", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== PAGE.version) location.reload();
  } catch {
    // The server has ended: the page stays as it is.
  }
  setTimeout(refresh, every, every);
}
setTimeout(refresh, 5000, 5000);
