/* Sends requests, reads answers and streams, compares every byte and stamps times. One thread, 127.0.0.1
 * only.
 *
 *   loadgen --mode http|sse|hold|upload --port P --path /v1/... --body FILE [--expect FILE] [--conns N]
 *           [--duration S] [--warmup S] [--events N] [--ramp CONNS_PER_S] [--deadline S] [--pause MS]
 *           [--probe FILE --probe-expect FILE] [-H 'name: value']...
 *
 *   http    closed loop on kept connections; a latency is from the first send to the complete answer. --pause
 * is a rest between two requests of a connection. sse     the same with streams; "ttfb" ends at the first
 * byte of the body, "ev" is an event's age on arrival hold    every connection opens one stream (ramped) and
 * keeps it to its end upload  every connection sends its body but for the last byte, rests for the duration,
 * then ends the request
 *
 * In hold and upload "PLATEAU" on stderr says that all connections are there. --expect is the body of a right
 * answer; where it has "@T<digits>;" any stamp will do. Without it a stream is right when it has --events
 * stamps, any other answer when it has a body. --probe is the body of one further request, a slow stream
 * whose events' ages are "probe"; "worst_probe" has the greatest age during each request beside it. JSON on
 * stdout, microseconds throughout. */
#include "net.h"

#include "histogram.h"

#define SEND_TURN 262144 /* bytes a connection sends before the others have their turn */

enum state { IDLE, CONNECTING, HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, TO_THE_END };

/* What a connection sends and what it must get. */
struct job {
  char *request;
  size_t request_length;
  char *expected; /* NULL: only count stamps */
  size_t expected_length;
  size_t *stamps; /* where in `expected` the digits of stamps stand */
  size_t stamp_count;
};

struct connection {
  int fd;
  bool open, probe, writing, close_after, chunked_answer;
  enum state state;
  size_t sent;
  uint64_t started, wake; /* wake: when a resting connection sends its next request */
  char head[8192];
  int head_length;
  int status;
  long left;
  char line[40];
  int line_length;
  size_t received; /* bytes of the body */
  size_t stamp;    /* how many stamps came */
  int marker;      /* how much of "@T<digits>;" has been seen */
  char digits[24];
  bool wrong, over; /* over: this connection has nothing more to do */
  int requests;
};

static struct {
  const char *mode, *path;
  int port, connections, events, ramp;
  double duration, warmup, deadline, pause;
} options = {.mode = "http",
             .path = "/",
             .port = 0,
             .connections = 1,
             .events = -1,
             .ramp = 1000,
             .duration = 3,
             .warmup = 0.3,
             .deadline = 60,
             .pause = 0};
static bool streams, hold, upload;
static struct job main_job, probe_job;
static int ep;
static struct connection *connections;
static struct connection probe;
static struct histogram latency, ttfb, age, probe_age, worst_probe;
static uint64_t probe_worst;
static uint64_t window_start, window_end;
static bool in_window;
static bool last_bytes_released;
static struct {
  uint64_t ok, bad, wrong, incomplete, connect_errors, io_errors, reconnects, events, bytes, first_events,
      over, held;
} counts;
static int first_bad_status;
static char bad_sample[400];

static bool recording(void) {
  return in_window || hold || upload;
}

static void send_interest(struct connection *c, bool on) {
  if (c->writing == on)
    return;
  c->writing = on;
  watch(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN | (on ? EPOLLOUT : 0), c);
}

static void finish_for_good(struct connection *c) {
  if (!c->over) {
    c->over = true;
    counts.over++;
  }
}

static void drop(struct connection *c) {
  if (c->open) {
    close(c->fd);
    c->open = false;
  }
  c->state = IDLE;
}

static int open_connection(struct connection *c) {
  c->fd = connect_to(options.port);
  if (c->fd < 0) {
    counts.connect_errors++;
    return -1;
  }
  c->open = c->writing = true;
  c->state = CONNECTING;
  watch(ep, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT, c);
  return 0;
}

static const struct job *job_of(const struct connection *c) {
  return c->probe ? &probe_job : &main_job;
}

/* How much of the request may leave now. */
static size_t sendable(const struct connection *c) {
  return job_of(c)->request_length - (upload && !last_bytes_released ? 1 : 0);
}

static int send_request(struct connection *c) {
  const struct job *job = job_of(c);
  size_t end = sendable(c), turn = c->sent + SEND_TURN;
  while (c->sent < end && c->sent < turn) {
    size_t size = end - c->sent < SEND_TURN ? end - c->sent : SEND_TURN;
    ssize_t sent = send(c->fd, job->request + c->sent, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent < 0 && errno != EAGAIN)
      return -1;
    if (sent < 0)
      break;
    c->sent += sent;
    if (upload && c->sent == end && !last_bytes_released)
      counts.held++;
  }
  send_interest(c, c->sent < end);
  return 0;
}

static int start(struct connection *c) {
  c->sent = c->received = c->stamp = 0;
  c->head_length = c->marker = 0;
  c->wrong = c->close_after = false;
  c->state = HEAD;
  c->started = now_ns();
  c->requests++;
  if (!c->probe && probe_job.request) {
    if (probe_worst)
      histogram_add(&worst_probe, probe_worst);
    probe_worst = 0;
  }
  return send_request(c);
}

static void note_stamp(struct connection *c, uint64_t now) {
  c->digits[STAMP_DIGITS] = 0;
  uint64_t sent = strtoull(c->digits, NULL, 10), old = now > sent ? now - sent : 0;
  c->stamp++;
  if (c->probe) {
    histogram_add(&probe_age, old);
    if (old > probe_worst)
      probe_worst = old;
    return;
  }
  if (c->stamp == 1)
    counts.first_events++;
  if (recording()) {
    counts.events++;
    histogram_add(&age, old);
  }
}

/* Compare a piece of the body with what is expected, reading the stamps in it. */
static void compare(struct connection *c, const struct job *job, const char *data, size_t size,
                    uint64_t now) {
  while (size > 0) {
    size_t next = c->stamp < job->stamp_count ? job->stamps[c->stamp] : job->expected_length;
    if (c->received < next) {
      size_t part = size < next - c->received ? size : next - c->received;
      if (memcmp(data, job->expected + c->received, part))
        c->wrong = true;
      c->received += part;
      data += part;
      size -= part;
    } else if (c->stamp < job->stamp_count) {
      size_t at = c->received - next, part = size < STAMP_DIGITS - at ? size : STAMP_DIGITS - at;
      memcpy(c->digits + at, data, part);
      c->received += part;
      data += part;
      size -= part;
      if (at + part == STAMP_DIGITS)
        note_stamp(c, now);
    } else {
      c->wrong = true; /* more than there should be */
      c->received += size;
      return;
    }
  }
}

/* Find the stamps in a body that is not known in advance. */
static void search(struct connection *c, const char *data, size_t size, uint64_t now) {
  const char *end = data + size;
  c->received += size;
  while (streams && data < end) {
    if (c->marker == 0) {
      data = memchr(data, '@', end - data);
      if (!data)
        return;
      data++;
      c->marker = 1;
      continue;
    }
    char byte = *data++;
    if (c->marker == 1) {
      c->marker = byte == 'T' ? 2 : 0;
    } else if (byte == ';' && c->marker == 2 + STAMP_DIGITS) {
      note_stamp(c, now);
      c->marker = 0;
    } else if (byte < '0' || byte > '9' || c->marker >= 2 + STAMP_DIGITS) {
      c->marker = 0;
    } else {
      c->digits[c->marker++ - 2] = byte;
    }
  }
}

static void take_body(struct connection *c, const char *data, size_t size, uint64_t now) {
  if (!size)
    return;
  if (!c->received && streams && !c->probe && recording())
    histogram_add(&ttfb, now - c->started);
  if (in_window)
    counts.bytes += size;
  const struct job *job = job_of(c);
  if (job->expected && c->status == 200)
    compare(c, job, data, size, now);
  else
    search(c, data, size, now);
}

/* An answer is complete: judge it, then go on with the connection. */
static int complete(struct connection *c) {
  const struct job *job = job_of(c);
  bool whole = job->expected ? c->received == job->expected_length
                             : (streams ? (int)c->stamp == options.events : c->received > 0);
  if (c->status != 200 || c->wrong || !whole) {
    counts.bad++;
    counts.wrong += c->status == 200 && c->wrong;
    counts.incomplete += c->status == 200 && !c->wrong;
    if (!first_bad_status)
      first_bad_status = c->status;
  } else if (recording() && !c->probe) {
    counts.ok++;
    histogram_add(&latency, now_ns() - c->started);
  }
  if (hold || upload) {
    finish_for_good(c);
    drop(c);
    return 0;
  }
  if (options.pause > 0 && !c->probe) {
    c->wake = now_ns() + (uint64_t)(options.pause * 1e6);
    c->state = IDLE;
  }
  if (c->close_after) {
    drop(c);
    counts.reconnects++;
    return open_connection(c);
  }
  return c->state == IDLE ? 0 : start(c);
}

static void keep_sample(const char *data, long size) {
  if (bad_sample[0] || size <= 0)
    return;
  long length = size < (long)sizeof bad_sample - 1 ? size : (long)sizeof bad_sample - 1;
  for (long i = 0; i < length; i++)
    bad_sample[i] = data[i] < 32 || data[i] == '"' || data[i] == '\\' || data[i] > 126 ? ' ' : data[i];
}

/* Take a piece of the head; returns how much of it belongs to the head, -1 when it is none. */
static long take_head(struct connection *c, const char *data, long size) {
  long room = sizeof c->head - 1 - c->head_length, taken = size < room ? size : room;
  memcpy(c->head + c->head_length, data, taken);
  char *blank = memmem(c->head, c->head_length + taken, "\r\n\r\n", 4);
  if (!blank) {
    c->head_length += taken;
    return taken == room ? -1 : taken;
  }
  long used = blank + 4 - c->head - c->head_length;
  blank[2] = 0;
  c->head_length = 0;
  c->status = atoi(c->head + 9);
  if (c->status == 100)
    return used;
  if (c->status != 200)
    keep_sample(data + used, size - used);
  const char *value = header(c->head, "connection");
  c->close_after = (value && !strncasecmp(value, "close", 5)) || !strncmp(c->head, "HTTP/1.0", 8);
  value = header(c->head, "transfer-encoding");
  if (value && strcasestr(value, "chunked")) {
    c->state = CHUNK_SIZE;
    c->line_length = 0;
    return used;
  }
  value = header(c->head, "content-length");
  c->left = value ? atol(value) : -1;
  c->state = c->left >= 0 ? BODY : TO_THE_END;
  c->close_after |= c->left < 0;
  return used;
}

static bool take_line(struct connection *c, char byte) {
  if (byte == '\n') {
    c->line[c->line_length] = 0;
    return true;
  }
  if (c->line_length < (int)sizeof c->line - 1)
    c->line[c->line_length++] = byte;
  return false;
}

static int take(struct connection *c, const char *data, long size, uint64_t now) {
  while (size > 0) {
    long used = 1;
    switch (c->state) {
    case HEAD:
      used = take_head(c, data, size);
      if (used < 0)
        return -1;
      if (c->state == BODY && !c->left)
        return complete(c);
      break;
    case BODY:
    case CHUNK:
      used = size < c->left ? size : c->left;
      take_body(c, data, used, now);
      c->left -= used;
      if (!c->left && c->state == BODY)
        return complete(c);
      if (!c->left)
        c->state = CHUNK_END;
      break;
    case CHUNK_SIZE:
      if (take_line(c, *data)) {
        c->line_length = 0;
        c->left = strtol(c->line, NULL, 16);
        c->state = c->left ? CHUNK : TRAILER;
      }
      break;
    case CHUNK_END:
      if (*data == '\n')
        c->state = CHUNK_SIZE;
      break;
    case TRAILER:
      if (take_line(c, *data)) {
        bool blank = c->line_length == 0 || (c->line_length == 1 && c->line[0] == '\r');
        c->line_length = 0;
        if (blank)
          return complete(c);
      }
      break;
    case TO_THE_END:
      used = size;
      take_body(c, data, used, now);
      break;
    default:
      return -1; /* bytes that nobody asked for */
    }
    data += used;
    size -= used;
  }
  return 0;
}

/* A connection broke: count it, and open another one where that makes sense. */
static void fail(struct connection *c) {
  counts.io_errors++;
  drop(c);
  if (hold || upload || c->probe) {
    finish_for_good(c);
    return;
  }
  counts.reconnects++;
  open_connection(c);
}

static void connected(struct connection *c) {
  if (!connect_error(c->fd)) {
    if (c->wake) { /* it rests: `run_rests` starts it */
      c->state = IDLE;
      send_interest(c, false);
    } else if (start(c) < 0) {
      fail(c);
    }
    return;
  }
  counts.connect_errors++;
  drop(c);
  if (hold || upload || c->probe) {
    finish_for_good(c);
  } else {
    usleep(1000);
    open_connection(c);
  }
}

static void serve(struct connection *c, uint32_t events) {
  static char data[READ_SIZE];
  if (c->state == CONNECTING) {
    connected(c);
    return;
  }
  if (events & EPOLLOUT && send_request(c) < 0) {
    fail(c);
    return;
  }
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
    return;
  ssize_t size = recv(c->fd, data, sizeof data, 0);
  uint64_t now = now_ns();
  in_window = !hold && !upload && now >= window_start && now < window_end;
  if (size < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (size > 0) {
    if (take(c, data, size, now) < 0)
      fail(c);
  } else if (size == 0 && c->state == TO_THE_END) {
    if (complete(c) < 0)
      fail(c);
  } else if (size == 0 && (c->state == IDLE || (c->state == HEAD && c->requests > 1 && !c->head_length))) {
    drop(c); /* a kept connection was closed before it was used again: no error */
    counts.reconnects++;
    open_connection(c);
  } else {
    fail(c);
  }
}

/* Start the requests of connections that rested between two. */
static void run_rests(void) {
  uint64_t now = now_ns();
  for (int i = 0; i < options.connections; i++) {
    struct connection *c = &connections[i];
    if (c->open && c->state == IDLE && c->wake && now >= c->wake) {
      c->wake = 0;
      if (start(c) < 0)
        fail(c);
    }
  }
}

/* Open further connections at the pace of --ramp. */
static int ramp_up(int opened, double elapsed) {
  int wanted = upload ? options.connections : (int)(elapsed * options.ramp);
  for (; opened < options.connections && opened < wanted; opened++)
    if (open_connection(&connections[opened]) < 0)
      finish_for_good(&connections[opened]);
  return opened;
}

static void release_last_bytes(void) {
  last_bytes_released = true;
  for (int i = 0; i < options.connections; i++)
    if (connections[i].open && send_request(&connections[i]) < 0)
      fail(&connections[i]);
}

static int prepare(struct job *job, const char *body, const char *expect, const char *headers) {
  size_t length;
  char *content = read_file(body, &length);
  if (!content)
    return -1;
  job->request = malloc(length + 70000);
  int head = sprintf(job->request,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: bench/1\r\nAccept: %s\r\n"
                     "Content-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n",
                     options.path, options.port, streams ? "text/event-stream" : "application/json", headers,
                     length);
  memcpy(job->request + head, content, length);
  job->request_length = head + length;
  free(content);
  if (!expect)
    return 0;
  job->expected = read_file(expect, &job->expected_length);
  if (!job->expected)
    return -1;
  job->stamps = malloc((job->expected_length / (STAMP_DIGITS + 3) + 1) * sizeof(size_t));
  const char *end = job->expected + job->expected_length;
  for (const char *at = job->expected; (at = memmem(at, end - at, "@T", 2));) {
    at += 2;
    if (end - at > STAMP_DIGITS && at[STAMP_DIGITS] == ';')
      job->stamps[job->stamp_count++] = at - job->expected;
  }
  return 0;
}

static void print_result(double seconds, double plateau, bool finished) {
  printf("{\"mode\":\"%s\",\"conns\":%d,\"request_bytes\":%zu,\"seconds\":%.3f,\"ok\":%llu,\"rps\":%.1f",
         options.mode, options.connections, main_job.request_length, seconds, (unsigned long long)counts.ok,
         counts.ok / seconds);
  printf(",\"bad\":%llu,\"bad_status\":%d,\"wrong\":%llu,\"incomplete\":%llu,\"connect_errors\":%llu",
         (unsigned long long)counts.bad, first_bad_status, (unsigned long long)counts.wrong,
         (unsigned long long)counts.incomplete, (unsigned long long)counts.connect_errors);
  printf(",\"io_errors\":%llu,\"reconnects\":%llu,\"bytes\":%llu,\"events\":%llu,\"expected_events\":%lld",
         (unsigned long long)counts.io_errors, (unsigned long long)counts.reconnects,
         (unsigned long long)counts.bytes, (unsigned long long)counts.events,
         (long long)options.events * options.connections);
  printf(",\"plateau_at_s\":%.3f,\"finished\":%s,\"bad_sample\":\"%s\"", plateau, finished ? "true" : "false",
         bad_sample);
  histogram_print("lat", &latency);
  histogram_print("ttfb", &ttfb);
  histogram_print("ev", &age);
  histogram_print("probe", &probe_age);
  histogram_print("worst_probe", &worst_probe);
  printf("}\n");
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  static char headers[65536];
  const char *body = NULL, *expect = NULL, *probe_body = NULL, *probe_expect = NULL;
  for (int i = 1; i + 1 < count; i += 2) {
    const char *name = arguments[i], *value = arguments[i + 1];
    if (!strcmp(name, "--mode"))
      options.mode = value;
    else if (!strcmp(name, "--port"))
      options.port = atoi(value);
    else if (!strcmp(name, "--path"))
      options.path = value;
    else if (!strcmp(name, "--body"))
      body = value;
    else if (!strcmp(name, "--expect"))
      expect = value;
    else if (!strcmp(name, "--probe"))
      probe_body = value;
    else if (!strcmp(name, "--probe-expect"))
      probe_expect = value;
    else if (!strcmp(name, "--conns"))
      options.connections = atoi(value);
    else if (!strcmp(name, "--duration"))
      options.duration = atof(value);
    else if (!strcmp(name, "--warmup"))
      options.warmup = atof(value);
    else if (!strcmp(name, "--events"))
      options.events = atoi(value);
    else if (!strcmp(name, "--ramp"))
      options.ramp = atoi(value);
    else if (!strcmp(name, "--deadline"))
      options.deadline = atof(value);
    else if (!strcmp(name, "--pause"))
      options.pause = atof(value);
    else if (!strcmp(name, "-H") && strlen(headers) + strlen(value) + 3 < sizeof headers)
      strcat(strcat(headers, value), "\r\n");
    else
      return fprintf(stderr, "loadgen: what is %s?\n", name), 2;
  }
  hold = !strcmp(options.mode, "hold");
  upload = !strcmp(options.mode, "upload");
  streams = hold || !strcmp(options.mode, "sse");
  raise_descriptor_limit();
  if (!body || prepare(&main_job, body, expect, headers) < 0)
    return 2;
  if (probe_body && prepare(&probe_job, probe_body, probe_expect, headers) < 0)
    return 2;
  ep = epoll_create1(0);
  connections = calloc(options.connections, sizeof *connections);
  bool loop = !hold && !upload;
  uint64_t begin = now_ns(), plateau = 0, ended = 0, release = 0;
  window_start = begin + (uint64_t)(options.warmup * 1e9);
  window_end = window_start + (uint64_t)(options.duration * 1e9);
  uint64_t end = loop ? window_end : begin + (uint64_t)(options.deadline * 1e9);
  int opened = 0;
  if (probe_job.request) {
    probe.probe = true;
    open_connection(&probe);
  }
  if (loop)
    for (; opened < options.connections; opened++)
      open_connection(&connections[opened]);
  static struct epoll_event events[1024];
  for (uint64_t now; (now = now_ns()) < end;) {
    in_window = loop && now >= window_start && now < window_end;
    if (!loop) {
      opened = ramp_up(opened, (now - begin) / 1e9);
      uint64_t there = upload ? counts.held : counts.first_events;
      if (!plateau && there + counts.over >= (uint64_t)options.connections) {
        plateau = now;
        release = now + (uint64_t)(options.duration * 1e9);
        fprintf(stderr, "PLATEAU %.3f\n", (now - begin) / 1e9);
      }
      if (upload && plateau && !last_bytes_released && now >= release)
        release_last_bytes();
      if (counts.over >= (uint64_t)options.connections) {
        ended = now;
        break;
      }
    } else if (options.pause > 0) {
      run_rests();
    }
    int wait = (!loop && opened < options.connections) || options.pause > 0 ? 1 : 20;
    int ready = epoll_wait(ep, events, 1024, wait);
    for (int i = 0; i < ready; i++) {
      struct connection *c = events[i].data.ptr;
      if (c->open)
        serve(c, events[i].events);
    }
  }
  double seconds = loop ? options.duration : ((ended ? ended : now_ns()) - begin) / 1e9;
  print_result(seconds, plateau ? (plateau - begin) / 1e9 : -1.0, ended != 0);
  return 0;
}
