# The terms are those that `headcount doctor` checks; the reasons stand in its findings.

locals {
  agent = "serviceAccount:${google_project_service_identity.pubsub.email}"
}

resource "google_pubsub_topic" "all" {
  for_each = {
    jobs   = "${var.topic_prefix}jobs"
    events = "${var.topic_prefix}job-events"
    dead   = "${var.topic_prefix}jobs-dead"
  }

  project    = var.project
  name       = each.value
  depends_on = [google_project_service.needed]
}

resource "google_pubsub_subscription" "jobs" {
  for_each = local.pools

  project                    = var.project
  name                       = each.value.subscription
  topic                      = google_pubsub_topic.all["jobs"].id
  filter                     = each.value.jobs_filter
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  # A pool at zero instances for 31 days would lose it otherwise.
  expiration_policy {
    ttl = ""
  }

  # A message that a stopping worker gives back must come again soon.
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "600s"
  }

  # Rollouts spend deliveries too; real failures are counted in the database.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.all["dead"].id
    max_delivery_attempts = 100
  }

  lifecycle {
    precondition {
      condition     = length(local.pools) == 1 || each.value.jobs_filter != ""
      error_message = "With several pools each one needs a jobs_filter: a pool without one gets the messages of all."
    }
  }
}

resource "google_pubsub_subscription" "dead" {
  project                    = var.project
  name                       = "${var.topic_prefix}jobs-dead-worker"
  topic                      = google_pubsub_topic.all["dead"].id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub's own account forwards dead letters: it publishes them there and acks them here.
resource "google_pubsub_topic_iam_member" "agent_publishes_dead_letters" {
  project = var.project
  topic   = google_pubsub_topic.all["dead"].name
  role    = "roles/pubsub.publisher"
  member  = local.agent
}

resource "google_pubsub_subscription_iam_member" "agent_acks_dead_letters" {
  for_each = google_pubsub_subscription.jobs

  project      = var.project
  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.agent
}

locals {
  pulled = merge(
    { for name, subscription in google_pubsub_subscription.jobs : name => subscription.name },
    { dead-letters = google_pubsub_subscription.dead.name },
  )
}

# The worker publishes jobs (retries, schedules, chains) and events, pulls both subscriptions, and looks at their terms.
resource "google_pubsub_topic_iam_member" "worker_publishes" {
  for_each = {
    jobs   = google_pubsub_topic.all["jobs"].name
    events = google_pubsub_topic.all["events"].name
  }

  project = var.project
  topic   = each.value
  role    = "roles/pubsub.publisher"
  member  = google_service_account.worker.member
}

resource "google_pubsub_subscription_iam_member" "worker_pulls" {
  for_each = local.pulled

  project      = var.project
  subscription = each.value
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.worker.member
}

resource "google_pubsub_subscription_iam_member" "worker_looks" {
  for_each = local.pulled

  project      = var.project
  subscription = each.value
  role         = "roles/pubsub.viewer"
  member       = google_service_account.worker.member
}
