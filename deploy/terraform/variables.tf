variable "project" {
  description = "The Google Cloud project that everything is made in."
  type        = string
}

variable "region" {
  description = "Where the pool and its database run. Keep them together: every job costs a few round trips."
  type        = string
}

variable "image" {
  description = "The worker's image with your handlers, by digest or by a tag that never moves."
  type        = string
}

variable "name" {
  description = "What the worker pool, the database and the accounts are called. Another one for each module of a project."
  type        = string
  default     = "headcount"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,17}[a-z0-9]$", var.name))
    error_message = "At most 19 lower-case letters, digits and hyphens: the longest account is called NAME-autoscaler."
  }
}

variable "topic_prefix" {
  description = "What the names of topics and subscriptions begin with. Another one for each module of a project."
  type        = string
  default     = ""
}

variable "more_pools" {
  description = <<-EOT
    Further pools on the same topics and database, by a short name: `gpu` becomes the worker pool NAME-gpu. Each gets a
    subscription of its own, and what it does not say is as in the first pool. With more than one pool every pool needs
    a jobs_filter, the first one too, and every job name must be in exactly one of them.
  EOT
  type = map(object({
    jobs_filter   = string
    image         = optional(string)
    instances     = optional(number)
    max_instances = optional(number)
    slots         = optional(number)
    cpu           = optional(string)
    memory        = optional(string)
    settings      = optional(map(string), {})
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.more_pools) : can(regex("^[a-z0-9][a-z0-9-]{0,18}[a-z0-9]$", name))])
    error_message = "2 to 20 lower-case letters, digits and hyphens: it becomes a part of the pool's name."
  }
}

variable "subnetwork" {
  description = "A subnetwork (/26 or larger) for private connections, or null for the public way with TLS."
  type        = string
  default     = null
}

variable "private_network" {
  description = "The VPC (its full id) that the database gets its private address in, or null for a public address, closed."
  type        = string
  default     = null
}

variable "private_services_connection" {
  description = "Needed with private_network: `make` the connection to Google's services in it, or `exists` if it has one."
  type        = string
  default     = null

  validation {
    condition     = var.private_services_connection == null || contains(["make", "exists"], coalesce(var.private_services_connection, "-"))
    error_message = "`make`, `exists` or null."
  }
}

variable "instances" {
  description = "How many instances the pool starts with. Afterwards it belongs to whatever scales it."
  type        = number
  default     = 2
}

variable "max_instances" {
  description = "The most that the autoscaler may ask for. Four connections each, twice in a rollout."
  type        = number
  default     = 8
}

variable "slots" {
  description = "How many jobs an instance runs at the same time."
  type        = number
  default     = 100
}

variable "cpu" {
  description = "vCPUs of the worker container."
  type        = string
  default     = "1"
}

variable "memory" {
  description = "Memory of the worker container: 200 MiB for itself, the rest for the slots."
  type        = string
  default     = "2Gi"
}

variable "settings" {
  description = "More settings of the worker: HEADCOUNT_* variables, and whatever the handlers read."
  type        = map(string)
  default     = {}
}

variable "handler_secrets" {
  description = "Secrets that handlers need: variable name to secret id in this project (version `latest` at start)."
  type        = map(string)
  default     = {}
}

variable "jobs_filter" {
  description = "A filter on attributes.job_name for a pool that runs only some jobs. It can't be changed later."
  type        = string
  default     = ""
}

variable "database_version" {
  description = "Cloud SQL's name of the PostgreSQL version: 15 or newer."
  type        = string
  default     = "POSTGRES_17"
}

variable "database_tier" {
  description = "The machine of the database. Small shared-core tiers allow 25 to 50 connections only."
  type        = string
  default     = "db-custom-2-7680"
}

variable "database_max_connections" {
  description = "max_connections of the database; `headcount doctor --instances N` says what is needed."
  type        = number
  default     = 200
}

variable "autoscaler" {
  description = "Whether to run the autoscaler (an always-on service, see deploy/autoscaling)."
  type        = bool
  default     = false
}

variable "notification_channels" {
  description = "Ids of the channels that are told of an alert with severity page: somebody's work stands still."
  type        = list(string)
  default     = []
}

variable "ticket_channels" {
  description = "Ids of the channels that are told of an alert with severity ticket. null: those of pages."
  type        = list(string)
  default     = null
}

variable "oldest_message_seconds" {
  description = "A page when a message is older. Messages of running jobs count too: more than the longest job takes."
  type        = number
  default     = 86400
}

variable "prune_schedule" {
  description = "When `headcount prune` runs, as cron says it, in UTC; null: never."
  type        = string
  default     = "17 3 * * *"
}

variable "prune_older_than" {
  description = "The age of what it deletes, `45d`. null: its own ages, 30 days for what is Completed and 90 for all else."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether the database is protected from being destroyed. The pools hold nothing and are not."
  type        = bool
  default     = true
}
