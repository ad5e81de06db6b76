/* A stand-in for a model provider that is faster than any proxy in front of it. One thread, 127.0.0.1 only.
 *
 *   fake_provider PORT [BODY_FILE...]
 *
 * POST .../chat/completions is answered in OpenAI's form, POST .../messages in Anthropic's. `"stream": true`
 * in the body gives server-sent events (one chunk each), anything else about 1 kB of JSON. What a stream is
 * like stands in the model name, which survives every proxy: bench-n<EVENTS>-i<INTERVAL_MS>-b<BATCH>. An
 * interval of 0 means as fast as the socket takes them, BATCH events a write. Every event carries
 * "@T<monotonic ns>;", stamped when it is sent.
 *
 * A request body whose length is that of one of the files must equal it: `wrong_bodies` counts the others.
 * GET with `Upgrade: websocket` is answered 101 and then echoed, byte for byte.
 * GET /__stats gives the counters as JSON. */
#include "net.h"

#define SEARCHED 32768 /* bytes at either end of a body in which the model and "stream" are looked for */
#define SLOTS 8192     /* of the timer wheel, one millisecond each */
#define EVENT_ROOM 512
#define MAX_FILES 64

enum state { HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, ANSWERING, CLOSING, ECHO };

struct connection {
  int fd;
  bool open;
  enum state state;
  char *head;
  int head_length, head_room;
  long left; /* bytes of the body or the chunk to come */
  char line[64];
  int line_length;
  char *first, *last; /* up to SEARCHED bytes of the body's beginning, and at least as many of what follows */
  int first_length, last_length;
  long body_length;
  const char *expected; /* what the body must be, NULL when that is unknown */
  bool wrong_body;
  bool old_client, close_after, anthropic, get;
  char *queue; /* output that the socket did not take */
  int queue_length, queue_sent, queue_room;
  uint32_t interest;
  bool streaming;
  int events, interval, batch, sent;
  uint64_t next; /* ns at which the next event is due */
  struct connection *timer_next, **timer_link;
  struct connection *active_next, *active_previous;
  bool active; /* in the list of streams without an interval */
};

static int ep;
static struct {
  long accepted, requests, streams, open, peak_open, events, body_bytes, wrong_bodies, tunnels, echoed;
} counters;
static struct {
  char *content;
  size_t length;
} files[MAX_FILES];
static int file_count;
static struct connection *wheel[SLOTS];
static uint64_t wheel_ms;
static long timers;
static struct connection active = {.active_next = &active, .active_previous = &active};
static struct connection *closed[4096]; /* freed at the end of the turn, since events may still name them */
static int closed_count;
static volatile sig_atomic_t stopped;

static void stop(int number) {
  (void)number;
  stopped = 1;
}

static void timer_remove(struct connection *c) {
  if (!c->timer_link)
    return;
  *c->timer_link = c->timer_next;
  if (c->timer_next)
    c->timer_next->timer_link = c->timer_link;
  c->timer_link = NULL;
  c->timer_next = NULL;
  timers--;
}

static void timer_add(struct connection *c) {
  uint64_t ms = c->next / 1000000;
  if (ms <= wheel_ms)
    ms = wheel_ms + 1;
  struct connection **slot = &wheel[ms % SLOTS];
  c->timer_next = *slot;
  if (*slot)
    (*slot)->timer_link = &c->timer_next;
  *slot = c;
  c->timer_link = slot;
  timers++;
}

static void active_remove(struct connection *c) {
  if (!c->active)
    return;
  c->active_next->active_previous = c->active_previous;
  c->active_previous->active_next = c->active_next;
  c->active = false;
}

static void active_add(struct connection *c) {
  if (c->active)
    return;
  c->active_next = &active;
  c->active_previous = active.active_previous;
  active.active_previous->active_next = c;
  active.active_previous = c;
  c->active = true;
}

static void drop(struct connection *c) {
  if (!c->open)
    return;
  c->open = false;
  timer_remove(c);
  active_remove(c);
  close(c->fd);
  counters.open--;
  free(c->head);
  free(c->first);
  free(c->last);
  free(c->queue);
  c->head = c->first = c->last = c->queue = NULL;
  if (closed_count < 4096)
    closed[closed_count++] = c;
}

static void interest(struct connection *c, uint32_t events) {
  if (c->interest == events)
    return;
  c->interest = events;
  watch(ep, EPOLL_CTL_MOD, c->fd, events, c);
}

static void queue_add(struct connection *c, const char *data, int size) {
  if (c->queue_sent) {
    memmove(c->queue, c->queue + c->queue_sent, c->queue_length - c->queue_sent);
    c->queue_length -= c->queue_sent;
    c->queue_sent = 0;
  }
  if (c->queue_length + size > c->queue_room) {
    c->queue_room = (c->queue_length + size) * 2;
    c->queue = realloc(c->queue, c->queue_room);
  }
  memcpy(c->queue + c->queue_length, data, size);
  c->queue_length += size;
}

/* Send or queue: 0 all is sent, 1 the socket is full, -1 the connection is dead. */
static int put(struct connection *c, const char *data, int size) {
  while (c->queue_length == c->queue_sent && size > 0) {
    ssize_t sent = send(c->fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent < 0 && errno != EAGAIN)
      return -1;
    if (sent < 0)
      break;
    data += sent;
    size -= sent;
  }
  if (size == 0)
    return 0;
  queue_add(c, data, size);
  /* A tunnel reads no further until its echo is gone: that is backpressure. */
  interest(c, c->state == ECHO ? EPOLLOUT : EPOLLIN | EPOLLRDHUP | EPOLLOUT);
  return 1;
}

/* Send what is queued: as `put`. */
static int flush_queue(struct connection *c) {
  while (c->queue_sent < c->queue_length) {
    ssize_t sent = send(c->fd, c->queue + c->queue_sent, c->queue_length - c->queue_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent < 0)
      return errno == EAGAIN ? 1 : -1;
    c->queue_sent += sent;
  }
  c->queue_length = c->queue_sent = 0;
  interest(c, EPOLLIN | EPOLLRDHUP);
  return 0;
}

static int write_chunk(struct connection *c, char *to, const char *data, int size) {
  if (c->old_client) {
    memcpy(to, data, size);
    return size;
  }
  int length = sprintf(to, "%x\r\n", size);
  memcpy(to + length, data, size);
  memcpy(to + length + size, "\r\n", 2);
  return length + size + 2;
}

static int write_event(struct connection *c, char *to) {
  static const char *anthropic =
      "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
      "\"delta\":{\"type\":\"text_delta\",\"text\":\"@T%019llu;\"}}\n\n";
  static const char *chat =
      "data: {\"id\":\"chatcmpl-b1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
      "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"@T%019llu;\"},"
      "\"finish_reason\":null}]}\n\n";
  char event[EVENT_ROOM];
  int size = snprintf(event, sizeof event, c->anthropic ? anthropic : chat, (unsigned long long)now_ns());
  c->sent++;
  counters.events++;
  return write_chunk(c, to, event, size);
}

static int write_stream_head(struct connection *c, char *to) {
  static const char *anthropic =
      "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_b1\","
      "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\",\"content\":[],\"stop_reason\":null,"
      "\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n"
      "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
      "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
  static const char *chat =
      "data: {\"id\":\"chatcmpl-b1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
      "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
      "\"finish_reason\":null}]}\n\n";
  int size = sprintf(
      to,
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
      "Cache-Control: no-cache\r\nx-request-id: req_bench\r\nopenai-processing-ms: 5\r\n%s%s\r\n",
      c->old_client ? "" : "Transfer-Encoding: chunked\r\n", c->close_after ? "Connection: close\r\n" : "");
  const char *event = c->anthropic ? anthropic : chat;
  return size + write_chunk(c, to + size, event, strlen(event));
}

static int write_stream_end(struct connection *c, char *to) {
  static const char *anthropic =
      "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
      "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
      "\"stop_sequence\":null},\"usage\":{\"output_tokens\":100}}\n\n"
      "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
  static const char *chat =
      "data: {\"id\":\"chatcmpl-b1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
      "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
      "data: [DONE]\n\n";
  const char *event = c->anthropic ? anthropic : chat;
  int size = write_chunk(c, to, event, strlen(event));
  if (c->old_client)
    return size;
  memcpy(to + size, "0\r\n\r\n", 5);
  return size + 5;
}

/* The answer is complete: be ready for the next request, or close. -1 when there is nothing left to send. */
static int end_answer(struct connection *c) {
  if (c->close_after || c->old_client) {
    if (c->queue_length > c->queue_sent) {
      c->state = CLOSING;
      return 0;
    }
    shutdown(c->fd, SHUT_WR);
    return -1;
  }
  c->state = HEAD;
  c->head_length = c->first_length = c->last_length = 0;
  c->body_length = 0;
  c->streaming = false;
  return 0;
}

static int end_stream(struct connection *c, char *room, int used) {
  used += write_stream_end(c, room + used);
  if (put(c, room, used) < 0)
    return -1;
  c->streaming = false;
  return end_answer(c);
}

/* One turn of a stream without an interval: at most 64 events, so that all streams advance. */
static int stream_turn(struct connection *c) {
  char room[65536];
  for (int turn = 0; c->sent < c->events && turn < 64;) {
    int used = 0;
    for (int i = 0; i < c->batch && c->sent < c->events && used < 60000; i++, turn++)
      used += write_event(c, room + used);
    int state = put(c, room, used);
    if (state < 0)
      return -1;
    if (state == 1) {
      active_remove(c);
      return 0;
    }
  }
  if (c->sent < c->events) {
    active_add(c);
    return 0;
  }
  active_remove(c);
  return end_stream(c, room, 0);
}

/* One event of a stream with an interval. */
static int stream_tick(struct connection *c) {
  char room[8192];
  int used = write_event(c, room);
  if (c->sent >= c->events)
    return end_stream(c, room, used);
  if (put(c, room, used) < 0)
    return -1;
  c->next += (uint64_t)c->interval * 1000000;
  timer_add(c);
  return 0;
}

static int answer_stream(struct connection *c) {
  char room[8192];
  int used = write_stream_head(c, room);
  counters.streams++;
  c->streaming = true;
  c->sent = 0;
  if (!c->interval)
    return put(c, room, used) < 0 ? -1 : stream_turn(c);
  if (c->events > 0) /* the first event leaves with the head */
    used += write_event(c, room + used);
  if (c->sent >= c->events)
    return end_stream(c, room, used);
  if (put(c, room, used) < 0)
    return -1;
  c->next = now_ns() + (uint64_t)c->interval * 1000000;
  timer_add(c);
  return 0;
}

static int answer_json(struct connection *c) {
  static char text[641];
  if (!text[0])
    for (int i = 0; i < 640; i++)
      text[i] = "The quick brown fox jumps over the lazy dog. "[i % 45];
  static const char *anthropic =
      "{\"id\":\"msg_b1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\",\"content\":[{"
      "\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{"
      "\"input_tokens\":500,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
      "\"output_tokens\":150}}";
  static const char *chat =
      "{\"id\":\"chatcmpl-b1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench\","
      "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},"
      "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":500,"
      "\"completion_tokens\":150,\"total_tokens\":650,\"prompt_tokens_details\":{\"cached_tokens\":0}},"
      "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_b1\"}";
  char body[2048], room[4096];
  int size = snprintf(body, sizeof body, c->anthropic ? anthropic : chat, text);
  int used = sprintf(room,
                     "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\n"
                     "openai-processing-ms: 5\r\nContent-Length: %d\r\n%s\r\n%s",
                     size, c->close_after ? "Connection: close\r\n" : "", body);
  return put(c, room, used) < 0 ? -1 : end_answer(c);
}

static int answer_get(struct connection *c) {
  char body[640], room[1024];
  int size;
  if (!strncmp(c->head, "GET /__stats", 12)) {
    size = sprintf(body,
                   "{\"accepted\":%ld,\"requests\":%ld,\"streams\":%ld,\"open\":%ld,\"peak_open\":%ld,"
                   "\"events\":%ld,\"body_bytes\":%ld,\"wrong_bodies\":%ld,\"tunnels\":%ld,\"echoed\":%ld}",
                   counters.accepted, counters.requests, counters.streams, counters.open, counters.peak_open,
                   counters.events, counters.body_bytes, counters.wrong_bodies, counters.tunnels,
                   counters.echoed);
    counters.peak_open = counters.open;
  } else {
    size = sprintf(body, "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\"}]}");
  }
  int used =
      sprintf(room, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
              size, c->close_after ? "Connection: close\r\n" : "", body);
  return put(c, room, used) < 0 ? -1 : end_answer(c);
}

/* Become an echo; the accept value is the one that RFC 6455 gives for its sample key. */
static int answer_upgrade(struct connection *c) {
  static const char *head =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
  counters.tunnels++;
  if (put(c, head, strlen(head)) < 0)
    return -1;
  c->state = ECHO;
  free(c->head); /* thousands of tunnels may be held */
  c->head = NULL;
  c->head_room = c->head_length = 0;
  return 0;
}

/* Look for the flag and the model in one end of the body. */
static void find_wishes(struct connection *c, const char *text, int length, bool *stream) {
  const char *end = text + length;
  for (const char *at = text; (at = memmem(at, end - at, "\"stream\"", 8));) {
    at += 8;
    while (at < end && (*at == ' ' || *at == ':'))
      at++;
    if (end - at >= 4 && !memcmp(at, "true", 4))
      *stream = true;
  }
  const char *model = memmem(text, length, "bench-n", 7);
  if (model) {
    char name[64] = {0};
    memcpy(name, model, end - model < 60 ? end - model : 60);
    if (sscanf(name, "bench-n%d-i%d-b%d", &c->events, &c->interval, &c->batch) < 1)
      c->events = 100;
  }
}

static int answer(struct connection *c) {
  c->state = ANSWERING;
  if (c->get)
    return header(c->head, "upgrade") ? answer_upgrade(c) : answer_get(c);
  counters.requests++;
  counters.body_bytes += c->body_length;
  counters.wrong_bodies += c->wrong_body;
  bool stream = false;
  c->events = 100;
  c->interval = 0;
  c->batch = 1;
  if (c->first_length)
    find_wishes(c, c->first, c->first_length, &stream);
  if (c->last_length)
    find_wishes(c, c->last, c->last_length, &stream);
  if (c->batch < 1)
    c->batch = 1;
  return stream ? answer_stream(c) : answer_json(c);
}

/* Take a piece of the body: compare it, keep its two ends. */
static void take_body(struct connection *c, const char *data, int size) {
  if (c->expected && memcmp(c->expected + c->body_length, data, size))
    c->wrong_body = true;
  c->body_length += size;
  if (c->first_length < SEARCHED) {
    int taken = size < SEARCHED - c->first_length ? size : SEARCHED - c->first_length;
    c->first = realloc(c->first, c->first_length + taken);
    memcpy(c->first + c->first_length, data, taken);
    c->first_length += taken;
    data += taken;
    size -= taken;
  }
  if (size <= 0)
    return;
  if (!c->last)
    c->last = malloc(2 * SEARCHED);
  if (size >= SEARCHED) {
    memcpy(c->last, data + size - SEARCHED, SEARCHED);
    c->last_length = SEARCHED;
    return;
  }
  if (c->last_length + size > 2 * SEARCHED) {
    memmove(c->last, c->last + c->last_length - SEARCHED, SEARCHED);
    c->last_length = SEARCHED;
  }
  memcpy(c->last + c->last_length, data, size);
  c->last_length += size;
}

/* Take the head apart and say what follows it. -1 when the connection is dead. */
static int take_head(struct connection *c) {
  char *line_end = strstr(c->head, "\r\n");
  c->old_client = line_end && line_end - c->head > 8 && !strncmp(line_end - 8, "HTTP/1.0", 8);
  c->get = !strncmp(c->head, "GET ", 4) || !strncmp(c->head, "HEAD", 4);
  char *target = strchr(c->head, ' ');
  char *target_end = target ? strpbrk(target + 1, " ?") : NULL;
  c->anthropic = target_end && target_end - c->head > 9 && !strncmp(target_end - 9, "/messages", 9);
  const char *value = header(c->head, "connection");
  c->close_after = value && !strncasecmp(value, "close", 5);
  c->expected = NULL;
  c->wrong_body = false;
  value = header(c->head, "expect");
  if (value && !strncasecmp(value, "100", 3) && put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0)
    return -1;
  value = header(c->head, "transfer-encoding");
  if (value && strcasestr(value, "chunked")) {
    c->state = CHUNK_SIZE;
    c->line_length = 0;
    return 0;
  }
  value = header(c->head, "content-length");
  c->left = value ? atol(value) : 0;
  for (int i = 0; i < file_count; i++)
    if (files[i].length == (size_t)c->left)
      c->expected = files[i].content;
  if (c->left > 0) {
    c->state = BODY;
    return 0;
  }
  return answer(c);
}

/* Collect a line of the chunked coding; true when it is complete. */
static bool take_line(struct connection *c, char byte) {
  if (byte == '\n') {
    c->line[c->line_length] = 0;
    return true;
  }
  if (c->line_length < (int)sizeof c->line - 1)
    c->line[c->line_length++] = byte;
  return false;
}

/* Take what came; -1 when the connection is to be closed. */
static int take(struct connection *c, char *data, int size) {
  while (size > 0) {
    int used = 1, ended = 0;
    switch (c->state) {
    case HEAD: {
      used = size < 16384 ? size : 16384;
      if (c->head_length + used > 65536)
        return -1;
      if (c->head_length + used + 1 > c->head_room) {
        c->head_room = c->head_length + used + 1;
        c->head = realloc(c->head, c->head_room);
      }
      memcpy(c->head + c->head_length, data, used);
      int from = c->head_length > 3 ? c->head_length - 3 : 0;
      char *blank = memmem(c->head + from, c->head_length + used - from, "\r\n\r\n", 4);
      if (!blank) {
        c->head_length += used;
        break;
      }
      used = blank + 4 - c->head - c->head_length;
      c->head_length += used;
      blank[2] = 0;
      ended = take_head(c);
      break;
    }
    case BODY:
    case CHUNK:
      used = size < c->left ? size : c->left;
      take_body(c, data, used);
      c->left -= used;
      if (!c->left && c->state == CHUNK)
        c->state = CHUNK_END;
      else if (!c->left)
        ended = answer(c);
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
          ended = answer(c);
      }
      break;
    case ECHO:
      used = size;
      counters.echoed += size;
      ended = put(c, data, size) < 0 ? -1 : 0;
      break;
    default:
      return -1; /* a request before the answer to the last one: no proxy under test does that */
    }
    if (ended < 0)
      return -1;
    data += used;
    size -= used;
  }
  return 0;
}

static void accept_all(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    send_at_once(fd);
    struct connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->open = true;
    c->interest = EPOLLIN | EPOLLRDHUP;
    counters.accepted++;
    if (++counters.open > counters.peak_open)
      counters.peak_open = counters.open;
    watch(ep, EPOLL_CTL_ADD, fd, c->interest, c);
  }
}

static void serve(struct connection *c, uint32_t events) {
  static char data[READ_SIZE];
  if (events & EPOLLOUT) {
    int state = flush_queue(c);
    if (state < 0 || (state == 0 && c->state == CLOSING)) {
      drop(c);
      return;
    }
    if (state == 0 && c->streaming && !c->interval)
      active_add(c);
  }
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)))
    return;
  ssize_t size = recv(c->fd, data, sizeof data, 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (size <= 0 || take(c, data, size) < 0)
    drop(c);
}

static void run_timers(void) {
  for (uint64_t ms = now_ns() / 1000000; wheel_ms < ms;) {
    wheel_ms++;
    struct connection *c = wheel[wheel_ms % SLOTS];
    wheel[wheel_ms % SLOTS] = NULL;
    while (c) {
      struct connection *next = c->timer_next;
      c->timer_link = NULL;
      c->timer_next = NULL;
      timers--;
      if (next)
        next->timer_link = NULL;
      if (c->next / 1000000 > wheel_ms + 1)
        timer_add(c); /* due in a later turn of the wheel */
      else if (c->open && stream_tick(c) < 0)
        drop(c);
      c = next;
    }
  }
}

int main(int count, char **arguments) {
  int port = count > 1 ? atoi(arguments[1]) : 0, on = 1;
  for (int i = 2; i < count && file_count < MAX_FILES; i++, file_count++)
    if (!(files[file_count].content = read_file(arguments[i], &files[file_count].length)))
      return 2;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  raise_descriptor_limit();
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = loopback(port);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16384)) {
    perror("fake_provider");
    return 1;
  }
  ep = epoll_create1(0);
  watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
  wheel_ms = now_ns() / 1000000;
  static struct epoll_event events[1024];
  while (!stopped) {
    int wait = active.active_next != &active ? 0 : timers ? 1 : 1000;
    int ready = epoll_wait(ep, events, 1024, wait);
    for (int i = 0; i < ready; i++) {
      struct connection *c = events[i].data.ptr;
      if (!c)
        accept_all(listener);
      else if (c->open)
        serve(c, events[i].events);
    }
    for (struct connection *c = active.active_next, *next; c != &active; c = next) {
      next = c->active_next;
      if (c->open && stream_turn(c) < 0)
        drop(c);
    }
    run_timers();
    while (closed_count)
      free(closed[--closed_count]);
  }
  return 0;
}
