-- The database of an integration platform: third parties, the messages exchanged with them, and the traces of the
-- language models that classify them.

CREATE TABLE partners (
    id         int PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    protocol   text NOT NULL,          -- rest, soap, sftp, as2
    stack      text NOT NULL,          -- what their side is written in: java, python, go, javascript
    country    char(2) NOT NULL,
    fail_pct   int NOT NULL,           -- how many of a hundred messages they fail
    active     boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TYPE message_status AS ENUM ('pending', 'processing', 'processed', 'retrying', 'failed', 'rejected');

CREATE TABLE messages (
    id          bigint GENERATED ALWAYS AS IDENTITY,  -- primary key, made by the seed
    partner_id  int NOT NULL,                         -- references partners
    direction   text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    kind        text NOT NULL,         -- order.created, invoice.issued, …
    external_id uuid NOT NULL,
    status      message_status NOT NULL DEFAULT 'pending',
    attempts    smallint NOT NULL DEFAULT 0,
    amount      numeric(12,2),
    payload     jsonb NOT NULL,
    error       text,                  -- what failed: a message or a whole stack trace
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE llm_traces (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace_id         text NOT NULL UNIQUE,
    message_id       bigint,           -- what was classified; the message may be gone
    "timestamp"      timestamptz NOT NULL,
    prompt           text NOT NULL,
    completion       text,
    deployment_env   text NOT NULL,
    service_name     text NOT NULL,
    component_name   text NOT NULL,
    response_time_ms int NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE llm_metric_results (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace_id        text NOT NULL,     -- results may come long after their trace
    metric_name     text NOT NULL,
    metric_value    numeric,           -- NULL: could not be judged
    metric_category text NOT NULL,
    explanation     text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (trace_id, metric_name)
);

-- Error texts with placeholders: {id} a number, {uuid}, {ts}, {host}. The seed and the writer fill them in.
CREATE TABLE error_templates (
    stack    text NOT NULL,
    n        int NOT NULL,
    template text NOT NULL,
    PRIMARY KEY (stack, n)
);

CREATE FUNCTION error_text(want_stack text, h bigint, at timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT replace(replace(replace(replace(template,
               '{id}', (10000 + h % 989999)::text),
               '{uuid}', md5(h::text)::uuid::text),
               '{ts}', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
               '{host}', 'node-' || h % 17)
    FROM error_templates
    WHERE stack = want_stack
      AND n = h % (SELECT count(*) FROM error_templates WHERE stack = want_stack)
$$;

CREATE FUNCTION message_payload(h bigint, kind text, amount numeric) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'type', kind,
        'reference', 'PO-' || h % 10000000,
        'currency', (ARRAY['EUR', 'USD', 'GBP', 'SEK', 'PLN'])[1 + h % 5],
        'amount', amount,
        'customer', jsonb_build_object('id', h % 50000, 'email', 'customer' || h % 50000 || '@example.com'),
        'lines', jsonb_build_array(
            jsonb_build_object('sku', 'SKU-' || h % 900, 'quantity', 1 + h % 9),
            jsonb_build_object('sku', 'SKU-' || h / 7 % 900, 'quantity', 1 + h / 11 % 4)))
$$;

-- Who reads for Pintail: nothing but SELECT, and the right to see other sessions' transaction start, which proves
-- that no late commit can be missed.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pintail') THEN
        CREATE ROLE pintail LOGIN PASSWORD 'pintail';
    END IF;
END $$;
GRANT pg_read_all_stats TO pintail;

-- Who follows the log for Pintail: the right to read it, and to publish the tables, which only their owner has.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pintail_replica') THEN
        CREATE ROLE pintail_replica LOGIN REPLICATION PASSWORD 'pintail';
    END IF;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO pintail_replica', current_database());
END $$;
ALTER TABLE partners OWNER TO pintail_replica;
ALTER TABLE messages OWNER TO pintail_replica;
ALTER TABLE llm_traces OWNER TO pintail_replica;
ALTER TABLE llm_metric_results OWNER TO pintail_replica;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO pintail;
