"use strict";
// Puts what the server sends in its place. All HTML is made, and escaped, by the server: the page works without this.
(() => {
  const { events, rows } = document.body.dataset;
  const most = Number(rows);
  const sign = document.getElementById("live");
  const policy = window.trustedTypes
    ? trustedTypes.createPolicy("llmux", { createHTML: (text) => text })
    : { createHTML: (text) => text };
  let source = null;
  let waiting = 0;

  const say = (state, text) => {
    sign.hidden = false;
    sign.className = "live " + state;
    sign.textContent = text;
  };

  const element = (text) => {
    const template = document.createElement("template");
    template.innerHTML = policy.createHTML(text);
    return template.content.firstElementChild;
  };

  // Newer rows have higher numbers; the row that tells of an empty list has none and stays the last.
  const number = (row) => Number(row.id.slice(1));

  // What the reader has opened or is about to press stays so.
  const replace = (old, fresh) => {
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    for (const open of old.querySelectorAll("details[open]")) {
      const same = open.id && fresh.querySelector("#" + CSS.escape(open.id));
      if (same) same.open = true;
    }
    old.replaceWith(fresh);
    if (focused) document.getElementById(focused)?.focus();
  };

  const put = (text) => {
    const fresh = element(text);
    const old = document.getElementById(fresh.id);
    if (old) {
      replace(old, fresh);
    } else if (fresh.tagName === "TR") {
      const list = document.getElementById("rows");
      let next = list.firstElementChild;
      while (number(next) > number(fresh)) next = next.nextElementSibling;
      fresh.classList.add("fresh");
      list.insertBefore(fresh, next);
      // The last one is there for when the list is empty.
      while (list.rows.length > most + 1) list.rows[most].remove();
    }
  };

  const close = () => {
    clearTimeout(waiting);
    if (source) source.close();
    source = null;
  };

  const open = () => {
    close();
    source = new EventSource(events);
    source.onopen = () => say("on", "live");
    source.onmessage = (message) => JSON.parse(message.data).forEach(put);
    source.onerror = () => {
      const refused = source.readyState === EventSource.CLOSED;
      say("off", refused ? "out of date" : "reconnecting");
      if (refused) waiting = setTimeout(renew, 5000);
    };
  };

  // The server knows this page no more, or has too many open: a fresh one tells, unless somebody is writing here.
  const renew = () => {
    if (document.activeElement instanceof HTMLInputElement) waiting = setTimeout(renew, 5000);
    else location.reload();
  };

  // A page that nobody sees takes no watcher's place.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      say("off", "paused");
    } else if (!source) {
      open();
    }
  });
  if (!document.hidden) open();
})();
