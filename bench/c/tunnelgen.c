/* Opens tunnels (an HTTP upgrade whose upstream echoes) and sends bytes through them. One thread, 127.0.0.1
 * only.
 *
 *   tunnelgen --port P --path /... --tunnels N --bytes B [--hold S] [--ramp PER_S] [--deadline S] [-H 'name:
 * value']...
 *
 * Every tunnel sends B bytes of a known pattern and compares the echo; "PLATEAU" on stderr says that all are
 * done. After --hold seconds each sends 64 more, compares them and closes. JSON on stdout. */
#include "net.h"

#define PERIOD 65521 /* of the pattern: a prime, so that a piece at the wrong place does not look right */
#define AGAIN 64

enum state { IDLE, CONNECTING, UPGRADING, TUNNEL, OVER };

struct tunnel {
  int fd;
  enum state state;
  bool writing, filled;
  char head[2048];
  int head_length;
  uint64_t sent, received, wanted;
};

static int port, tunnel_count = 1, ramp = 1000, ep;
static const char *path = "/";
static uint64_t bytes = 64;
static double hold, deadline = 60;
static char pattern[2 * PERIOD + READ_SIZE];
static char request[8192];
static struct tunnel *tunnels;
static uint64_t first_byte, last_byte;
static struct {
  uint64_t upgraded, filled, ok, wrong, refused, errors, over, bytes;
} counts;
static int refused_status;

static void end_tunnel(struct tunnel *t) {
  if (t->state == OVER)
    return;
  if (t->state != IDLE)
    close(t->fd);
  t->state = OVER;
  counts.over++;
}

static void send_interest(struct tunnel *t, bool on) {
  if (t->writing == on)
    return;
  t->writing = on;
  watch(ep, EPOLL_CTL_MOD, t->fd, EPOLLIN | (on ? EPOLLOUT : 0), t);
}

/* Send what is due, at most one buffer a turn; -1 when the connection is dead. */
static int fill(struct tunnel *t) {
  if (t->sent < t->wanted) {
    uint64_t left = t->wanted - t->sent, size = left < READ_SIZE ? left : READ_SIZE;
    if (size > PERIOD)
      size = PERIOD;
    ssize_t sent = send(t->fd, pattern + t->sent % PERIOD, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
      return -1;
    if (sent > 0)
      t->sent += sent;
  }
  send_interest(t, t->sent < t->wanted);
  return 0;
}

static int check(struct tunnel *t, const char *data, size_t size) {
  counts.bytes += size;
  while (size > 0) {
    size_t part = size < PERIOD ? size : PERIOD;
    if (t->received + part > t->wanted || memcmp(data, pattern + t->received % PERIOD, part)) {
      counts.wrong++;
      return -1;
    }
    t->received += part;
    data += part;
    size -= part;
  }
  if (t->received < t->wanted)
    return 0;
  last_byte = now_ns();
  if (t->filled) {
    counts.ok++;
    end_tunnel(t);
  } else {
    t->filled = true;
    counts.filled++;
  }
  return 0;
}

static int upgrade(struct tunnel *t, const char *data, size_t size) {
  size_t room = sizeof t->head - 1 - t->head_length;
  if (size > room)
    return -1;
  memcpy(t->head + t->head_length, data, size);
  t->head_length += size;
  char *blank = memmem(t->head, t->head_length, "\r\n\r\n", 4);
  if (!blank)
    return 0;
  int status = atoi(t->head + 9);
  if (status != 101) {
    counts.refused++;
    refused_status = status;
    return -1;
  }
  counts.upgraded++;
  t->state = TUNNEL;
  t->wanted = bytes;
  if (!first_byte)
    first_byte = now_ns();
  return fill(t);
}

static void serve(struct tunnel *t, uint32_t events) {
  static char data[READ_SIZE];
  if (t->state == CONNECTING) {
    if (connect_error(t->fd) ||
        send(t->fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) {
      counts.errors++;
      end_tunnel(t);
      return;
    }
    t->state = UPGRADING;
    send_interest(t, false);
    return;
  }
  uint64_t before = counts.wrong + counts.refused;
  int state = 0;
  if (events & EPOLLOUT)
    state = fill(t);
  if (state == 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    ssize_t size = recv(t->fd, data, sizeof data, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
      return;
    state = size <= 0 ? -1 : t->state == UPGRADING ? upgrade(t, data, size) : check(t, data, size);
  }
  if (state < 0) {
    counts.errors += counts.wrong + counts.refused == before;
    end_tunnel(t);
  }
}

static int open_some(int opened, double elapsed) {
  for (; opened < tunnel_count && opened < (int)(elapsed * ramp) + 1; opened++) {
    struct tunnel *t = &tunnels[opened];
    t->fd = connect_to(port);
    if (t->fd < 0) {
      counts.errors++;
      end_tunnel(t);
      continue;
    }
    t->state = CONNECTING;
    t->writing = true;
    watch(ep, EPOLL_CTL_ADD, t->fd, EPOLLIN | EPOLLOUT, t);
  }
  return opened;
}

static void send_again(void) {
  for (int i = 0; i < tunnel_count; i++)
    if (tunnels[i].state == TUNNEL) {
      tunnels[i].wanted += AGAIN;
      if (fill(&tunnels[i]) < 0) {
        counts.errors++;
        end_tunnel(&tunnels[i]);
      }
    }
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  static char headers[4096];
  for (int i = 1; i + 1 < count; i += 2) {
    const char *name = arguments[i], *value = arguments[i + 1];
    if (!strcmp(name, "--port"))
      port = atoi(value);
    else if (!strcmp(name, "--path"))
      path = value;
    else if (!strcmp(name, "--tunnels"))
      tunnel_count = atoi(value);
    else if (!strcmp(name, "--bytes"))
      bytes = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--hold"))
      hold = atof(value);
    else if (!strcmp(name, "--ramp"))
      ramp = atoi(value);
    else if (!strcmp(name, "--deadline"))
      deadline = atof(value);
    else if (!strcmp(name, "-H") && strlen(headers) + strlen(value) + 3 < sizeof headers)
      strcat(strcat(headers, value), "\r\n");
    else
      return fprintf(stderr, "tunnelgen: what is %s?\n", name), 2;
  }
  raise_descriptor_limit();
  for (size_t i = 0; i < sizeof pattern; i++)
    pattern[i] = (char)((i % PERIOD) * 131 + (i % PERIOD) / 251);
  snprintf(request, sizeof request,
           "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
           path, port, headers);
  ep = epoll_create1(0);
  tunnels = calloc(tunnel_count, sizeof *tunnels);
  uint64_t begin = now_ns(), plateau = 0, end = begin + (uint64_t)(deadline * 1e9), filled_at = 0;
  bool again = false, finished = false;
  int opened = 0;
  static struct epoll_event events[1024];
  for (uint64_t now; (now = now_ns()) < end;) {
    opened = open_some(opened, (now - begin) / 1e9);
    if (!plateau && counts.filled + counts.over >= (uint64_t)tunnel_count) {
      plateau = now;
      filled_at = last_byte;
      fprintf(stderr, "PLATEAU %.3f\n", (now - begin) / 1e9);
    }
    if (plateau && !again && now >= plateau + (uint64_t)(hold * 1e9)) {
      again = true;
      send_again();
    }
    if (counts.over >= (uint64_t)tunnel_count) {
      finished = true;
      break;
    }
    int ready = epoll_wait(ep, events, 1024, opened < tunnel_count ? 1 : 20);
    for (int i = 0; i < ready; i++) {
      struct tunnel *t = events[i].data.ptr;
      if (t->state != OVER)
        serve(t, events[i].events);
    }
  }
  printf(
      "{\"tunnels\":%d,\"upgraded\":%llu,\"ok\":%llu,\"wrong\":%llu,\"refused\":%llu,\"refused_status\":%d,"
      "\"errors\":%llu,\"bytes\":%llu,\"seconds\":%.4f,\"plateau_at_s\":%.3f,\"finished\":%s}\n",
      tunnel_count, (unsigned long long)counts.upgraded, (unsigned long long)counts.ok,
      (unsigned long long)counts.wrong, (unsigned long long)counts.refused, refused_status,
      (unsigned long long)counts.errors, (unsigned long long)counts.bytes,
      filled_at > first_byte ? (filled_at - first_byte) / 1e9 : 0.0, plateau ? (plateau - begin) / 1e9 : -1.0,
      finished ? "true" : "false");
  return 0;
}
