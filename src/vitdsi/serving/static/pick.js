// Ways to give a photo: drop, paste, choose, camera.

import { h, icon, notify } from "./dom.js";

const NAMES = /\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif)$/i;

/** Call `onPhoto(file)` for each photo that is given in any way. */
export function listenForPhotos(onPhoto) {
  const take = (files) => {
    const photo = [...files].find((file) => file.type.startsWith("image/") || NAMES.test(file.name));
    if (photo) onPhoto(photo);
    else if (files.length) notify(`${files[0].name} is not a photo.`);
    else notify("That was no file. Save the photo first, then drop it here.");
  };
  listenForDrops(take);
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) {
      event.preventDefault();
      take(event.clipboardData.files);
    }
  });
  for (const id of ["file", "capture"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      take(input.files);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => document.getElementById("file").click());
  }
  for (const button of document.querySelectorAll("[data-camera]")) {
    button.addEventListener("click", () => openCamera(onPhoto));
  }
}

function listenForDrops(take) {
  const target = document.getElementById("drop");
  let depth = 0; // dragenter comes before the dragleave of the element that was left
  const show = (change) => {
    depth = change ? Math.max(0, depth + change) : 0;
    target.hidden = !depth;
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => carriesFiles(event) && show(1));
  addEventListener("dragleave", (event) => carriesFiles(event) && show(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    show(0);
    if (!document.querySelector("dialog[open]")) take(event.dataTransfer.files);
  });
}

/** A preview with a shutter where the browser allows it, or else the camera of the system. */
async function openCamera(onPhoto) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch {
    document.getElementById("capture").click();
    return;
  }
  const dialog = document.getElementById("camera");
  const video = h("video", { autoplay: true, playsinline: true, "aria-label": "What the camera sees" });
  video.muted = true;
  video.srcObject = stream;
  const shoot = () => {
    const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      onPhoto(new File([blob], "camera.jpg", { type: "image/jpeg" }));
    }, "image/jpeg", 0.92);
  };
  const shutter = h("button", { type: "button", class: "shutter", "aria-label": "Take the photo", disabled: true, onclick: shoot });
  video.onplaying = () => {
    shutter.disabled = false;
    shutter.focus();
  };
  dialog.replaceChildren(
    video,
    h("button", { type: "button", class: "button bare round close", "aria-label": "Close the camera", onclick: () => dialog.close() }, icon("close")),
    shutter,
  );
  dialog.onclose = () => stream.getTracks().forEach((track) => track.stop());
  dialog.showModal();
}
