// Keeps the worklist current: the node says that something changed, the page asks for the table again.
"use strict";

const live = document.getElementById("live");
const connection = document.getElementById("connection");
const EVERY_MS = 15000; // waiting times move on without any event
let running = false;
let wanted = false;
let freshAt = new Date();

function say(isLive) {
  const at = freshAt.toLocaleTimeString(document.documentElement.lang);
  const said = isLive ? connection.dataset.live : connection.dataset.lost;
  connection.textContent = said.replace("{time}", at);
  connection.classList.toggle("lost", !isLive);
  document.body.classList.toggle("stale", !isLive);
}

function isSelecting() {
  const selection = document.getSelection();
  return Boolean(selection) && !selection.isCollapsed && live.contains(selection.anchorNode);
}

async function refresh() {
  if (running || isSelecting()) {
    wanted = true;
    return;
  }
  running = true;
  wanted = false;
  try {
    const answer = await fetch(live.dataset.source, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    live.innerHTML = await answer.text();
    if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    freshAt = new Date();
    say(true);
  } catch {
    say(false);
  } finally {
    running = false;
    if (wanted) setTimeout(refresh, 500);
  }
}

const source = new EventSource("/api/events");
source.addEventListener("worklist", refresh);
source.addEventListener("error", () => say(false));
document.addEventListener("selectionchange", () => { if (wanted && !isSelecting()) refresh(); });
setInterval(refresh, EVERY_MS);
say(true);
