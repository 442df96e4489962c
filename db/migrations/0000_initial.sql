CREATE TYPE "public"."kv_object_state" AS ENUM('reserved', 'ready', 'quarantined', 'tombstone');--> statement-breakpoint
CREATE TYPE "public"."session_status" AS ENUM('creating', 'ready', 'failed', 'deleted');--> statement-breakpoint
CREATE TYPE "public"."user_role" AS ENUM('owner', 'admin', 'viewer');--> statement-breakpoint
CREATE TABLE "api_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"project_id" text NOT NULL,
	"created_by" text,
	"hash" text NOT NULL,
	"display" text NOT NULL,
	"name" text NOT NULL,
	"scopes" text[] NOT NULL,
	"models" text[],
	"expires_at" timestamp with time zone,
	"disabled_at" timestamp with time zone,
	"last_used_at" timestamp with time zone,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "api_keys_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
CREATE TABLE "data_keys" (
	"id" "bytea" PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"wrapped_data_key" "bytea" NOT NULL,
	"wrapped_chain_secret" "bytea" NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"retired_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "kv_blocks" (
	"hash" "bytea" PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"parent_hash" "bytea" NOT NULL,
	"block_index" integer NOT NULL,
	"object_key" text NOT NULL,
	"index_in_object" integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kv_objects" (
	"key" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"namespace" "bytea" NOT NULL,
	"state" "kv_object_state" NOT NULL,
	"first_token" integer NOT NULL,
	"token_count" integer NOT NULL,
	"stored_bytes" bigint NOT NULL,
	"raw_bytes" bigint NOT NULL,
	"codec" text NOT NULL,
	"session_id" text,
	"worker_id" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"ready_at" timestamp with time zone,
	"last_used_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"retired_at" timestamp with time zone,
	"retired_reason" text
);
--> statement-breakpoint
CREATE TABLE "leases" (
	"hash" "bytea" PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"worker_id" text NOT NULL,
	"epoch" text NOT NULL,
	"expires_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "organizations" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "projects" (
	"id" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"name" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "sessions" (
	"id" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"project_id" text NOT NULL,
	"model" text NOT NULL,
	"status" "session_status" NOT NULL,
	"label" text,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"token_count" integer DEFAULT 0 NOT NULL,
	"turn_count" integer DEFAULT 0 NOT NULL,
	"sealed_tokens" "bytea",
	"sealed_transcript" "bytea",
	"tail_object_key" text,
	"version" integer DEFAULT 0 NOT NULL,
	"worker_id" text,
	"error" text,
	"ttl_seconds" integer NOT NULL,
	"pinned" boolean DEFAULT false NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_used_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"deleted_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "turns" (
	"session_id" text NOT NULL,
	"index" integer NOT NULL,
	"request_id" text NOT NULL,
	"worker_id" text NOT NULL,
	"prompt_tokens" integer NOT NULL,
	"cached_tokens" integer NOT NULL,
	"completion_tokens" integer NOT NULL,
	"finish_reason" text NOT NULL,
	"tier" text NOT NULL,
	"ttft_ms" double precision NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "turns_session_id_index_pk" PRIMARY KEY("session_id","index")
);
--> statement-breakpoint
CREATE TABLE "usage" (
	"request_id" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"project_id" text NOT NULL,
	"api_key_id" text NOT NULL,
	"model" text NOT NULL,
	"endpoint" text NOT NULL,
	"status" text NOT NULL,
	"worker_id" text,
	"prompt_tokens" integer NOT NULL,
	"cached_tokens" integer NOT NULL,
	"completion_tokens" integer NOT NULL,
	"tier" text NOT NULL,
	"ttft_ms" double precision,
	"total_ms" double precision NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "users" (
	"id" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"email" text NOT NULL,
	"role" "user_role" NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "users_email_unique" UNIQUE("email")
);
--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_project_id_projects_id_fk" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_created_by_users_id_fk" FOREIGN KEY ("created_by") REFERENCES "public"."users"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "data_keys" ADD CONSTRAINT "data_keys_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kv_blocks" ADD CONSTRAINT "kv_blocks_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kv_blocks" ADD CONSTRAINT "kv_blocks_object_key_kv_objects_key_fk" FOREIGN KEY ("object_key") REFERENCES "public"."kv_objects"("key") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kv_objects" ADD CONSTRAINT "kv_objects_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "projects" ADD CONSTRAINT "projects_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_project_id_projects_id_fk" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "turns" ADD CONSTRAINT "turns_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "users" ADD CONSTRAINT "users_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "api_keys_organization" ON "api_keys" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "data_keys_organization" ON "data_keys" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "kv_blocks_object" ON "kv_blocks" USING btree ("object_key");--> statement-breakpoint
CREATE INDEX "kv_objects_state" ON "kv_objects" USING btree ("state","created_at");--> statement-breakpoint
CREATE INDEX "kv_objects_expiry" ON "kv_objects" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "kv_objects_session" ON "kv_objects" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "kv_objects_organization" ON "kv_objects" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "sessions_organization" ON "sessions" USING btree ("organization_id","created_at");--> statement-breakpoint
CREATE INDEX "sessions_expiry" ON "sessions" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "usage_organization" ON "usage" USING btree ("organization_id","created_at");