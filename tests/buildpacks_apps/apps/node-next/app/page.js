export const dynamic = "force-dynamic";

export default function Page() {
  return <p>rendered by Next.js, asked for {process.env.WHO}</p>;
}
