# Everything else waits for these, directly or through what it refers to. Enabling them needs Service Usage and Cloud
# Resource Manager themselves, which docs/deploy.md enables by hand.

resource "google_project_service" "needed" {
  for_each = toset(concat(
    [
      "cloudresourcemanager.googleapis.com",
      "cloudtrace.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "sqladmin.googleapis.com",
    ],
    var.prune_schedule == null ? [] : ["cloudscheduler.googleapis.com"],
    var.private_network == null ? [] : ["compute.googleapis.com", "servicenetworking.googleapis.com"],
    var.autoscaler ? ["parametermanager.googleapis.com"] : [],
  ))

  project            = var.project
  service            = each.value
  disable_on_destroy = false
}

# Pub/Sub's own account, which forwards dead letters. It is made late otherwise, and granting it something fails until then.
resource "google_project_service_identity" "pubsub" {
  provider = google-beta

  project    = var.project
  service    = "pubsub.googleapis.com"
  depends_on = [google_project_service.needed]
}
